#include "daemon/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

Test(log, leaves_errno_alone) {
        captured_begin(2);
        errno = ENOTTY;
        log_error("%s", "x");
        int after = errno;
        captured_end();
        cr_assert_eq(after, ENOTTY);
}

/* ---- The journal ---- */

/* In a mount namespace of this process: /run/systemd/journal is empty, and stderr, which goes into memory, is what
 * $JOURNAL_STREAM names. False where that may not be made. */
static bool journal_stage(void) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
                return false;
        cr_assert_eq(mkdir("/run/systemd", 0755) | mkdir("/run/systemd/journal", 0755), 0);
        captured_begin(2);
        struct stat stat;
        cr_assert_eq(fstat(2, &stat), 0);
        char stream[64];
        snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)stat.st_dev,
                (unsigned long long)stat.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        return true;
}

static int journal_socket(void) {
        struct sockaddr_un address = {AF_UNIX, "/run/systemd/journal/socket"};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
        return fd;
}

static bool entry_has(const char *entry, const char *field) {
        char line[256];
        snprintf(line, sizeof(line), "%s\n", field);
        const char *at = strstr(entry, line);
        return at && (at == entry || at[-1] == '\n');
}

Test(log, gives_the_journal_fields_and_stderr_nothing) {
        if (!journal_stage())
                cr_skip_test("no mount namespace may be made here");
        int journal = journal_socket();
        log_event(LOG_EVENT_CLIENT_ENDED,
                &(struct log_subject){.pool = "video",
                        .client = 7,
                        .client_name = "encoder",
                        .has_process = true,
                        .pid = 1234,
                        .uid = 33,
                        .has_holdings = true,
                        .ranges = 2,
                        .bytes = 8192},
                "client %d ended", 7);
        char entry[4096];
        ssize_t length = recv(journal, entry, sizeof(entry) - 1, 0);
        cr_assert_gt(length, 0);
        entry[length] = '\0';
        static const char *const fields[] = {"MESSAGE=client 7 ended", "PRIORITY=6",
                "MESSAGE_ID=eb66f716598e438ea8040a650c465471", "BUDDYD_POOL=video",
                "BUDDYD_CLIENT=7", "BUDDYD_CLIENT_NAME=encoder", "BUDDYD_PID=1234", "BUDDYD_UID=33",
                "BUDDYD_RANGES=2", "BUDDYD_BYTES=8192"};
        const char *text = captured_end();
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
                cr_assert(entry_has(entry, fields[i]), "no %s in:\n%s", fields[i], entry);
        cr_assert_not(strstr(entry, "CODE_FILE"));
        cr_assert_str_eq(text, "");
}

Test(log, gives_stderr_the_line_when_the_journal_cannot_be_reached) {
        if (!journal_stage())
                cr_skip_test("no mount namespace may be made here");
        log_event(LOG_EVENT_FAILURE, NULL, "cause; mend");
        cr_assert_str_eq(captured_end(), "<3>cause; mend\n");
}

Test(log, knows_another_stream_from_the_journals) {
        captured_begin(2);
        setenv("JOURNAL_STREAM", "1:1", 1);
        log_event(LOG_EVENT_POOL_NOT_KEPT, NULL, "two");
        cr_assert_str_eq(captured_end(), "buddyd: warning: two\n");
}

Test(log, has_an_id_of_its_own_for_each_event) {
        static const char *const ids[] = {
#define ID_OF(name, priority, id) id,
                LOG_EVENTS(ID_OF)
#undef ID_OF
        };
        const size_t count = sizeof(ids) / sizeof(ids[0]);
        for (size_t i = 0; i < count; i++) {
                cr_assert_eq(strlen(ids[i]), 32);
                cr_assert_eq(strspn(ids[i], "0123456789abcdef"), 32);
                for (size_t j = 0; j < i; j++)
                        cr_assert_str_neq(ids[i], ids[j]);
        }
}
