# Completion of stead for fish. What may stand where the cursor is, the program itself says: candidates, and what each means behind a
# tab, a line each; the last line is a number: 2 for no blank behind a candidate, 4 for no names of files.

function __stead_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    set -q lines[1]; or return
    set -l directive (string sub -s 2 -- $lines[-1])
    if set -q lines[2]
        printf '%s\n' $lines[1..-2]
    else if test $directive -lt 4
        __fish_complete_path "$current"
    end
end

complete -c stead -f -a '(__stead_complete)'
