"""Taking over what other tools keep versions of: DVC, Git LFS, directories side by side."""
