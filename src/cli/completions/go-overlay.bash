# go-overlay: completions for bash

# The names of the services that are not on the line yet, asked of the daemon that the line is about. Only what is a
# name: `compgen -W` expands the words that it gets, and would run a command in one of them.
_go_overlay_services() {
    local name rest
    "$program" "${socket[@]}" list 2>/dev/null | {
        read -r name rest && [[ $name == NAME ]] || return
        while read -r name rest; do
            [[ $name =~ ^[A-Za-z0-9_-]+$ && " ${given[*]} " != *" $name "* ]] && echo "$name"
        done
    }
}

# Offers what begins with the word at the cursor: of a kind, or of the words named.
_go_overlay_offer() {
    local words=$1
    case $1 in
        FILE | DIRECTORY)
            compopt -o filenames 2>/dev/null
            local action=file
            [[ $1 == FILE ]] || action=directory
            mapfile -t COMPREPLY < <(compgen -A "$action" -P "$prefix" -- "$word")
            return
            ;;
        SERVICE) words=$(_go_overlay_services) ;;
        SIGNAL)
            words='@SIGNALS@'
            [[ $word == SIG* ]] && words="SIG${words// / SIG}"
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -P "$prefix" -- "$word")
}

# After `--`: another program's line, which begins at this word.
_go_overlay_main_program() {
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif ((COMP_CWORD == $1)); then
        mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
    fi
}

_go_overlay() {
    local program=${COMP_WORDS[0]/#\~\//"$HOME/"} word=${COMP_WORDS[COMP_CWORD]}
    local command='' before='' prefix='' options='' many='' i
    local -a socket=() given=() kinds=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        before=${COMP_WORDS[i]}
        case $before in
            --)
                _go_overlay_main_program $((i + 1))
                return
                ;;
            @WITH_VALUE@)
                # bash takes `=` for a word of its own.
                [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((++i))
                ((++i < COMP_CWORD)) || break
                [[ $before == --socket ]] && socket=(--socket "${COMP_WORDS[i]}")
                ;;
            -*) ;;
            *) if [[ -z $command ]]; then command=$before; else given+=("$before"); fi ;;
        esac
        before=''
    done
    [[ $word == '=' ]] && word=''
    # Unless COMP_WORDBREAKS was changed.
    if [[ -z $before && $word == --*=* ]]; then
        before=${word%%=*} prefix=${word%%=*}= word=${word#*=}
    fi
    case $before in
        '') ;;
@VALUES@
        *) return ;;
    esac
    case $command in
        '' | help) kinds=('@COMMANDS@') ;;
@OF_COMMANDS@
    esac
    if [[ $word == -* ]]; then
        _go_overlay_offer "$options @GLOBAL@"
    else
        _go_overlay_offer "${kinds[${many:-${#given[@]}}]}"
    fi
}

complete -F _go_overlay go-overlay
