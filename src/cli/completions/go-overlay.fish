# go-overlay: completions for fish

# The command, then its own words, of the line up to the cursor.
function __go_overlay_words
    set -l is_value no
    for word in (commandline -opc)[2..]
        if test $is_value = yes
            set is_value no
            continue
        end
        switch $word
            case @WITH_VALUE@
                set is_value yes
            case '-*'
            case '*'
                echo -- $word
        end
    end
end

# After `--`: another program's line.
function __go_overlay_in_main_program
    contains -- -- (commandline -opc)
end

function __go_overlay_main_program
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    complete -C (string join ' ' -- (string escape -- $words[(math $at + 1)..]) (commandline -ct))
end

function __go_overlay_needs_command
    not __go_overlay_in_main_program; and test (count (__go_overlay_words)) = 0
end

# Whether the line is of this command and, where it is named, at this word of its own.
function __go_overlay_is
    set -l words (__go_overlay_words)
    __go_overlay_in_main_program; and return 1
    test "$words[1]" = $argv[1]; or return 1
    test (count $argv) = 1; or test (count $words) = $argv[2]
end

# The services that are not on the line yet, asked of the daemon that the line is about.
function __go_overlay_services
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    set -l socket (string match -- '--socket=*' $words)
    set -l at (contains -i -- --socket $words); and set socket --socket $words[(math $at + 1)]
    set -l given (__go_overlay_words)[2..]
    $program $socket list 2>/dev/null | begin
        read -l headings
        while read -l name state rest
            string match -qr '^[A-Za-z0-9_-]+$' -- $name; or continue
            contains -- $name $given; or printf '%s\t%s\n' $name $state
        end
    end
end

function __go_overlay_signals
    set -l signals @SIGNALS@
    if string match -q 'SIG*' -- (commandline -ct)
        set signals SIG$signals
    end
    string join \n $signals
end

complete -c go-overlay -f
complete -c go-overlay -n __go_overlay_in_main_program -a '(__go_overlay_main_program)'
@COMPLETE@
