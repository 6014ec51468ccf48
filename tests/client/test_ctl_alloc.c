/* alloc against a daemon that is long about it. */
#include <criterion/criterion.h>
#include <poll.h>

#include "client/ctl/arguments.h"
#include "client/ctl/observer.h"
#include "peer.h"

TestSuite(ctl_alloc, .timeout = 60);

/* As one that has to reserve the memory first. */
static void grants_late(int fd) {
        struct reply welcome = peer_welcome(peer_read(fd)->id);
        peer_send(fd, &welcome, NULL, 0);
        const struct request *request = peer_read(fd);
        peer_need(request->kind == REQUEST_HOLD && request->hold.length == 4096);
        poll(NULL, 0, OBSERVER_TIMEOUT_MS + 500);
        peer_send_range(fd, request->id, 0, 1);
        peer_wait_close(fd);
}

Test(ctl_alloc, a_hold_is_waited_for_longer_than_an_answer) {
        struct peer peer = peer_start(grants_late);
        const struct invocation invocation = {
                .values[OPTION_SOCKET] = peer.path, .operand = "4096"};
        cr_expect_eq(cmd_alloc(&invocation), EXIT_DONE);
        peer_stop(&peer);
}
