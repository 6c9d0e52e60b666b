#compdef go-overlay
# go-overlay: completions for zsh

# The services that are not on the line yet, asked of the daemon that the line is about.
_go_overlay_services() {
    setopt local_options extended_glob
    local at=${(Q)opt_args[--socket]} program=${${(Q)words[1]}/#\~\//$HOME/} row
    local -a rows services given=(${words[2,CURRENT-1]})
    rows=(${(f)"$("$program" ${at:+--socket} $at list 2>/dev/null)"})
    [[ $rows[1] == NAME\ * ]] || return 1
    for row in ${(M)rows[2,-1]:#[A-Za-z0-9_-]## *}; do
        services+=("${${=row}[1]}:${${=row}[2]}")
    done
    _describe service services -F given
}

_go_overlay_signals() {
    local -a signals=(@SIGNALS@)
    local expl
    [[ $PREFIX == SIG* ]] && signals=(SIG$^signals)
    _wanted signals expl signal compadd -a signals
}

_go_overlay_commands() {
    local -a commands=(
@DESCRIBED@
    )
    _describe command commands
}

_go-overlay() {
    local main=${words[(i)--]} command='' i
    # After `--`: another program's line.
    if ((main < CURRENT)); then
        shift $main words
        ((CURRENT -= main))
        _normal
        return
    fi
    # The command, which options may precede.
    for ((i = 2; i < CURRENT; i++)); do
        case $words[i] in
            @WITH_VALUE@) ((i++)) ;;
            -*) ;;
            *) command=$words[i]; break ;;
        esac
    done
    case $command in
        '') _arguments@ANY@ \
                '1: :_go_overlay_commands' ;;
        help) _arguments '1: : ' '2: :_go_overlay_commands' ;;
@OF_COMMANDS@
    esac
}

if [[ $funcstack[1] == _go-overlay ]]; then
    _go-overlay "$@"
elif (($+functions[compdef])); then
    compdef _go-overlay go-overlay
else
    print -u2 "go-overlay: zsh has no completions yet; first: autoload -Uz compinit && compinit"
fi
