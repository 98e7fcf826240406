# Completion of 'git hangar' and 'git-hangar' in fish.
function __git_hangar_items
    set -l words (commandline -opc)
    set -l at (contains -i -- hangar $words; or echo 1)
    set -l rest $words[(math $at + 1)..-1]
    set -l lines (env _GIT_HANGAR_COMPLETE=fish_complete COMP_WORDS="git-hangar $rest" \
        COMP_CWORD=(commandline -t) git-hangar 2>/dev/null)
    for line in $lines
        set -l parts (string split -m 1 "," -- $line)
        if test "$parts[1]" = plain
            echo $parts[2]
        else
            __fish_complete_path (commandline -t)
        end
    end
end
complete -c git -f -n '__fish_seen_subcommand_from hangar' -a '(__git_hangar_items)'
complete -c git -f -n __fish_use_subcommand -a hangar -d 'Version control for tensor data'
complete -c git-hangar -f -a '(__git_hangar_items)'
