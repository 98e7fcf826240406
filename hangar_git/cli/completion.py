"""``git hangar completion``, and what arguments are completed with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

_BASH = """\
# Completion of 'git hangar' and 'git-hangar' in bash.
_git_hangar_items() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case ${line%%,*} in
            dir|file) mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
                      compopt -o filenames 2>/dev/null ;;
            plain) COMPREPLY+=("${line#*,}") ;;
        esac
    done < <(COMP_WORDS="$1" COMP_CWORD="$2" _GIT_HANGAR_COMPLETE=bash_complete \\
             git-hangar 2>/dev/null)
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "${COMP_WORDS[COMP_CWORD]}"
    fi
}
# Called by Git's own completion for 'git hangar'.
_git_hangar() {
    local at=${__git_cmd_idx:-1} i
    for ((i = at; i <= COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == hangar ]]; then at=$i; break; fi
    done
    _git_hangar_items "git-hangar ${COMP_WORDS[*]:at + 1}" "$((COMP_CWORD - at))"
}
_git_hangar_program() {
    _git_hangar_items "${COMP_WORDS[*]}" "$COMP_CWORD"
}
complete -o nosort -F _git_hangar_program git-hangar
# Without Git's completion, 'git hangar' is completed here.
if ! declare -F __git_complete >/dev/null && ! complete -p git >/dev/null 2>&1; then
    _git_hangar_alone() {
        if [[ ${COMP_WORDS[1]} == hangar && $COMP_CWORD -gt 1 ]]; then
            _git_hangar
        else
            mapfile -t COMPREPLY < <(compgen -W hangar -- "${COMP_WORDS[COMP_CWORD]}")
        fi
    }
    complete -o bashdefault -o default -F _git_hangar_alone git
fi
"""
_ZSH = """\
#compdef git-hangar
# Completion of 'git hangar' and 'git-hangar' in zsh; put it into a directory of $fpath.
_git-hangar() {
    local -a items described lines
    local type key description
    lines=("${(@f)$(env COMP_WORDS="git-hangar ${words[2,-1]}" COMP_CWORD=$((CURRENT - 1)) \\
        _GIT_HANGAR_COMPLETE=zsh_complete git-hangar 2>/dev/null)}")
    for type key description in ${lines}; do
        if [[ $type == plain ]]; then
            if [[ $description == _ ]]; then items+=("$key")
            else described+=("${key//:/\\\\:}:$description"); fi
        else
            _files
        fi
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#items )) && compadd -U -V unsorted -a items
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _git-hangar "$@"
else
    compdef _git-hangar git-hangar
fi
zstyle -g existing ':completion:*:*:git:*' user-commands
zstyle ':completion:*:*:git:*' user-commands "${existing[@]}" \\
    'hangar:version control for tensor data'
"""
_FISH = """\
# Completion of 'git hangar' and 'git-hangar' in fish.
function __git_hangar_items
    set -l words (commandline -opc)
    set -l at (contains -i -- hangar $words; or echo 1)
    set -l rest $words[(math $at + 1)..-1]
    set -l lines (env _GIT_HANGAR_COMPLETE=fish_complete COMP_WORDS="git-hangar $rest" \\
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
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
MOST_SAMPLES = 50_000
"""Above that many samples in an arrayset, listing them would keep the user waiting."""


@click.command(short_help="Print a script that completes commands.")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, revisions, arraysets and samples in SHELL.

    \b
    bash:  eval "$(git hangar completion bash)"              in ~/.bashrc
    zsh:   git hangar completion zsh > DIR/_git-hangar       with DIR in $fpath
    fish:  git hangar completion fish > ~/.config/fish/completions/git-hangar.fish
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    click.echo(SCRIPTS[shell], nl=False)


def complete_command(command: click.Command, group: str = "") -> None:
    """Have the arguments of `command`, in `group`, completed by what their names say they are."""
    for parameter in command.params:
        name = (parameter.name or "").lower()
        finder = _FINDERS.get(name)
        if name == "name" and command.name not in _MAKING:
            finder = _NAMED.get(group)
        # A parameter may complete itself; paths and choices do.
        if finder is None or parameter._custom_shell_complete is not None:
            continue
        if isinstance(parameter.type, click.types.StringParamType):
            parameter._custom_shell_complete = _completing(finder)


def _completing(
    finder: Callable[[click.Context], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return [CompletionItem(one) for one in finder(ctx) if one.startswith(incomplete)]
        except Exception:  # noqa: BLE001  # a shell's line is no place for errors
            return []

    return complete


def _git() -> Any:
    from .opening import open_repository

    return open_repository()[1]


def _revisions(_: click.Context) -> list[str]:
    import subprocess

    from .here import place

    out = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags",
         "refs/remotes"],
        cwd=place(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return ["HEAD", *out.split()]


def _branches(ctx: click.Context) -> list[str]:
    import subprocess

    from .here import place

    out = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname:short)", "refs/heads"],
        cwd=place(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    del ctx
    return out.split()


def _arraysets(_: click.Context) -> list[str]:
    from ..staging.staged import read_staged

    return [name for name, _, _ in read_staged(_git()).arraysets()]


def _samples(ctx: click.Context) -> list[str]:
    from ..keys import sorted_keys
    from ..staging.staged import read_staged
    from .names import shown_name

    name = ctx.params.get("arrayset")
    staged = read_staged(_git())
    if not isinstance(name, str) or name not in staged.base.arrayset_trees:
        return []
    records = staged.base.arrayset(name)
    if records.count() > MOST_SAMPLES:
        return []
    return [shown_name(key) for key in sorted_keys(list(records.load_all()))]


def _arguments_of_diff(ctx: click.Context) -> list[str]:
    return [*_revisions(ctx), *_arraysets(ctx)]


def _plugins(_: click.Context) -> list[str]:
    from ..plugins.manager import plugin_manager

    return plugin_manager().names


def _formats(_: click.Context) -> list[str]:
    from ..plugins.manager import plugin_manager

    return list(dict.fromkeys(plugin_manager().extensions("save")))


def _remotes(_: click.Context) -> list[str]:
    from ..remotes.remoteconfig import remote_names

    return remote_names(_git())


_MAKING = ("add", "create")
"""Commands whose NAME is a new one."""
_NAMED: dict[str, Callable[[click.Context], Iterable[str]]] = {
    "arrayset": _arraysets, "branch": _branches, "remote": _remotes,
}  # fmt: skip
_FINDERS: dict[str, Callable[[click.Context], Iterable[str]]] = {
    "startpoint": _revisions, "revision": _revisions, "source": _revisions,
    "branchname": _branches, "branch": _branches, "arguments": _arguments_of_diff,
    "arrayset": _arraysets, "labels": _arraysets,
    "sample": _samples, "names": _samples, "keys": _samples, "key": _samples,
    "remote": _remotes, "plugin": _plugins, "format_": _formats,
}  # fmt: skip
