/* terminal_is_known, in a file of its own: term.h makes macros of many a name, so it comes last. */
#include "terminal.h"

#include <curses.h>
#include <unistd.h>

#include <term.h>

bool terminal_is_known(void) {
        int error;
        if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
                return false;
        bool whole_screen = cursor_address && clear_screen;
        del_curterm(cur_term);
        return whole_screen;
}
