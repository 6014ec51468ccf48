/* The supervisor. It has one thread and waits in one place; its children are forked from it alone, and each
 * closes every descriptor that is not its own, so that a dead process's sockets are closed for everybody. */
#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"
#include "reader.h"
#include "record.h"
#include "worker.h"
#include "writer.h"

struct supervisor {
        const struct options *options;
        sigset_t signals; /* blocked here, taken from signal_fd */
        int signal_fd;
        int control;          /* to the reader; -1 before it is there, as the next */
        int results;          /* the workers' way to the writer, for those still to be started */
        int inlets;           /* from the writer */
        pid_t reader, writer; /* 0: not running */
        pid_t workers[WORKERS_MAX];
        unsigned restarts;
        bool reported;
        struct report report;
        int failure; /* exit code, once something went wrong */
};

static void fail(struct supervisor *supervisor, const char *what, int error) {
        if (what)
                fprintf(stderr, "pipeline: %s: %s\n", what, strerror(error));
        if (!supervisor->failure)
                supervisor->failure = EXIT_BROKEN;
}

/* ---- Children ---- */

static int by_value(const void *left, const void *right) {
        return *(const int *)left - *(const int *)right;
}

/* Closes all descriptors above the standard ones but these. */
static void keep_only(int *fds, size_t count) {
        qsort(fds, count, sizeof(*fds), by_value);
        unsigned from = STDERR_FILENO + 1;
        for (size_t i = 0; i < count; i++) {
                if ((unsigned)fds[i] > from)
                        close_range(from, (unsigned)fds[i] - 1, 0);
                from = (unsigned)fds[i] + 1;
        }
        close_range(from, ~0U, 0);
}

/* Forks. 0 in the child, which then has but the given descriptors and ends with its parent. */
static pid_t child_start(struct supervisor *supervisor, const char *name, int *kept, size_t count) {
        pid_t parent = getpid();
        pid_t pid = fork();
        if (pid)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_BROKEN);
        prctl(PR_SET_NAME, name);
        signal(SIGINT, SIG_IGN); /* of the whole foreground group: the supervisor's to answer */
        sigprocmask(SIG_UNBLOCK, &supervisor->signals, NULL);
        keep_only(kept, count);
        return 0;
}

static void worker_start(struct supervisor *supervisor, unsigned slot, uint32_t inlet) {
        int pair[2];
        int result = record_pair(pair);
        if (result) {
                fail(supervisor, "cannot connect a worker", -result);
                return;
        }
        int kept[] = {pair[1], supervisor->results};
        pid_t pid = child_start(supervisor, "pipeline-worker", kept, 2);
        if (pid == 0) {
                struct worker_links links = {.reader = pair[1],
                        .results = supervisor->results,
                        .slot = slot,
                        .inlet = inlet};
                exit(worker_run(supervisor->options, &links));
        }
        close(pair[1]);
        if (pid > 0) {
                struct control_record record = {.kind = CONTROL_WORKER, .slot = slot};
                supervisor->workers[slot] = pid;
                result = record_send_fd(supervisor->control, &record, sizeof(record), pair[0]);
        } else {
                result = -errno;
        }
        close(pair[0]);
        bool reader_gone = result == -EPIPE || result == -ECONNRESET; /* which SIGCHLD tells, too */
        if (result && !reader_gone)
                fail(supervisor, "cannot start a worker", -result);
}

static int reader_and_writer_start(struct supervisor *supervisor) {
        int control[2], results[2], settled[2], inlets[2];
        int result = record_pair(control);
        if (!result)
                result = record_pair(results);
        if (!result)
                result = record_pair(settled);
        if (!result)
                result = record_pair(inlets);
        if (result)
                return result;
        int of_reader[] = {control[1], settled[0]};
        supervisor->reader = child_start(supervisor, "pipeline-reader", of_reader, 2);
        if (supervisor->reader == 0) {
                struct reader_links links = {.control = control[1], .settled = settled[0]};
                exit(reader_run(supervisor->options, &links));
        }
        int of_writer[] = {results[0], settled[1], inlets[1]};
        supervisor->writer = child_start(supervisor, "pipeline-writer", of_writer, 3);
        if (supervisor->writer == 0) {
                struct writer_links links = {
                        .results = results[0], .settled = settled[1], .inlets = inlets[1]};
                exit(writer_run(supervisor->options, &links));
        }
        result = supervisor->reader < 0 || supervisor->writer < 0 ? -errno : 0;
        close(control[1]);
        close(results[0]);
        close(settled[0]);
        close(settled[1]);
        close(inlets[1]);
        supervisor->inlets = inlets[0];
        supervisor->control = control[0];
        supervisor->results = results[1];
        return result;
}

/* ---- Events ---- */

static void take_control(struct supervisor *supervisor) {
        for (;;) {
                struct control_record record;
                ssize_t length =
                        record_receive(supervisor->control, &record, sizeof(record), false);
                if (length != sizeof(record))
                        return; /* nothing there; or the reader is gone, which SIGCHLD tells */
                if (record.kind == CONTROL_REPORT) {
                        supervisor->report = record.report;
                        supervisor->reported = true;
                } else if (record.kind == CONTROL_DRILL && record.slot < WORKERS_MAX &&
                           supervisor->workers[record.slot] > 0) {
                        kill(supervisor->workers[record.slot], SIGKILL);
                }
        }
}

static void take_inlets(struct supervisor *supervisor) {
        struct inlet_record record;
        while (record_receive(supervisor->inlets, &record, sizeof(record), false) == sizeof(record))
                if (!supervisor->reported && !supervisor->failure)
                        worker_start(supervisor, record.slot, record.peer);
}

static bool ended_well(int status) {
        return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_ALL_DONE;
}

/* A worker that says itself why it cannot go on would say so again: only one that was killed is replaced, once the
 * writer has opened a new inlet. All that the dead one sent to the writer is before this record. */
static void worker_ended(struct supervisor *supervisor, unsigned slot, int status) {
        supervisor->workers[slot] = 0;
        if (supervisor->reported || supervisor->failure)
                return;
        if (WIFEXITED(status) && !ended_well(status)) {
                fail(supervisor, NULL, 0);
                return;
        }
        supervisor->restarts++;
        struct result_record record = {.slot = slot, .worker_ended = true};
        int result = record_send(supervisor->results, &record, sizeof(record), NULL, true);
        bool writer_gone = result == -EPIPE || result == -ECONNRESET; /* which SIGCHLD tells, too */
        if (result && !writer_gone)
                fail(supervisor, "cannot reach the writer", -result);
}

static void child_ended(struct supervisor *supervisor, pid_t pid, int status) {
        for (unsigned i = 0; i < supervisor->options->workers; i++) {
                if (supervisor->workers[i] == pid) {
                        worker_ended(supervisor, i, status);
                        return;
                }
        }
        bool reader = pid == supervisor->reader;
        if (reader)
                supervisor->reader = 0;
        else if (pid == supervisor->writer)
                supervisor->writer = 0;
        if (ended_well(status))
                return;
        if (WIFSIGNALED(status) && !supervisor->failure)
                fprintf(stderr, "pipeline: the %s was killed: %s\n", reader ? "reader" : "writer",
                        strsignal(WTERMSIG(status)));
        fail(supervisor, NULL, 0);
}

static void take_signals(struct supervisor *supervisor) {
        struct signalfd_siginfo info;
        while (read(supervisor->signal_fd, &info, sizeof(info)) == sizeof(info))
                if (info.ssi_signo != SIGCHLD)
                        supervisor->failure = EXIT_INTERRUPTED;
        take_control(supervisor); /* the reader reports before its end makes workers end */
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                child_ended(supervisor, pid, status);
}

static void watch(struct supervisor *supervisor) {
        while (supervisor->reader && !supervisor->failure) {
                struct pollfd polled[] = {
                        {.fd = supervisor->signal_fd, .events = POLLIN},
                        {.fd = supervisor->control, .events = POLLIN},
                        {.fd = supervisor->inlets, .events = POLLIN},
                };
                if (poll(polled, supervisor->reported ? 1 : 3, -1) < 0 && errno != EINTR)
                        fail(supervisor, "cannot wait for events", errno);
                if (polled[1].revents)
                        take_control(supervisor);
                if (polled[2].revents)
                        take_inlets(supervisor);
                if (polled[0].revents)
                        take_signals(supervisor);
        }
}

/* Waits for all children: after a good run they end by themselves, else they are ended. */
static void gather(struct supervisor *supervisor) {
        close(supervisor->results); /* the writer ends with the last worker */
        if (supervisor->failure) {
                for (unsigned i = 0; i < supervisor->options->workers; i++)
                        if (supervisor->workers[i] > 0)
                                kill(supervisor->workers[i], SIGKILL);
                if (supervisor->reader > 0)
                        kill(supervisor->reader, SIGKILL);
                if (supervisor->writer > 0)
                        kill(supervisor->writer, SIGKILL);
        }
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR)
                if (pid > 0)
                        child_ended(supervisor, pid, status);
        close(supervisor->control);
        close(supervisor->inlets);
}

/* ---- The run ---- */

static int signals_take_over(struct supervisor *supervisor) {
        sigemptyset(&supervisor->signals);
        sigaddset(&supervisor->signals, SIGCHLD);
        sigaddset(&supervisor->signals, SIGINT);
        sigaddset(&supervisor->signals, SIGTERM);
        sigaddset(&supervisor->signals, SIGHUP);
        sigprocmask(SIG_BLOCK, &supervisor->signals, NULL);
        supervisor->signal_fd = signalfd(-1, &supervisor->signals, SFD_CLOEXEC | SFD_NONBLOCK);
        return supervisor->signal_fd < 0 ? -errno : 0;
}

static int closing_words(struct supervisor *supervisor) {
        if (supervisor->failure == EXIT_INTERRUPTED)
                fprintf(stderr, "pipeline: interrupted; the table is not complete\n");
        if (supervisor->failure)
                return supervisor->failure;
        if (report_print(stderr, &supervisor->report, supervisor->options, supervisor->restarts))
                return EXIT_BROKEN;
        return supervisor->report.unreadable ? EXIT_INCOMPLETE : EXIT_ALL_DONE;
}

int supervisor_run(const struct options *options) {
        struct buddyclient *client; /* one clear refusal, before every process gets its own */
        if (pool_connect(options, "pipeline", true, &client))
                return EXIT_BROKEN;
        buddyclient_destroy(client);
        struct supervisor supervisor = {
                .options = options, .control = -1, .results = -1, .inlets = -1};
        int result = signals_take_over(&supervisor);
        if (!result)
                result = reader_and_writer_start(&supervisor);
        if (result)
                fail(&supervisor, "cannot start", -result);
        watch(&supervisor);
        gather(&supervisor);
        close(supervisor.signal_fd);
        return closing_words(&supervisor);
}
