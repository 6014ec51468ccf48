#include "daemon/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "captured.h"

Test(log, names_program_and_level) {
        captured_begin(2);
        log_error("cause %d; mend", 7);
        cr_assert_str_eq(captured_end(), "buddyd: error: cause 7; mend\n");
}

Test(log, drops_what_is_below_the_level) {
        captured_begin(2);
        log_debug("no");
        log_info("yes");
        log_set_level(LOG_WARNING);
        log_notice("no");
        log_warning("yes");
        cr_assert_str_eq(captured_end(), "buddyd: info: yes\nbuddyd: warning: yes\n");
}

Test(log, keeps_a_foreign_name_on_its_line) {
        captured_begin(2);
        log_notice("client '%s'", "a\nbuddyd: error: b\x1b[2J\x7f");
        cr_assert_str_eq(captured_end(), "buddyd: notice: client 'a?buddyd: error: b?[2J?'\n");
}

Test(log, cuts_a_long_line_and_ends_it) {
        char name[8192];
        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        captured_begin(2);
        log_notice("%s", name);
        const char *text = captured_end();
        cr_assert(is_one_line(text));
        cr_assert_lt(strlen(text), sizeof(name));
}

Test(log, speaks_the_journals_way_on_its_stream_only) {
        captured_begin(2);
        struct stat stat;
        cr_assert_eq(fstat(2, &stat), 0);
        char stream[64];
        snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)stat.st_dev,
                (unsigned long long)stat.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        log_warning("one");
        setenv("JOURNAL_STREAM", "1:1", 1);
        log_warning("two");
        cr_assert_str_eq(captured_end(), "<4>one\nbuddyd: warning: two\n");
}

Test(log, leaves_errno_alone) {
        captured_begin(2);
        errno = ENOTTY;
        log_error("%s", "x");
        int after = errno;
        captured_end();
        cr_assert_eq(after, ENOTTY);
}
