/* What bench computes with, and that a daemon's threads get their CPUs back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/partner.h"

Test(ctl_bench, median_is_the_middle) {
        double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
        cr_expect_float_eq(bench_median(odd, 3), 3, 0);
        cr_expect_float_eq(bench_median(even, 4), 2.5, 0);
        cr_expect_float_eq(bench_median(one, 1), 7, 0);
}

Test(ctl_bench, samples_go_round_and_are_taken_once) {
        static struct bench_samples samples;
        cr_expect_float_eq(bench_samples_take(&samples), 0, 0);
        for (int64_t ns = 0; ns < BENCH_SAMPLES; ns++)
                bench_samples_add(&samples, 1);
        for (int64_t ns = 0; ns < BENCH_SAMPLES; ns++)
                bench_samples_add(&samples, 2);
        cr_expect_float_eq(bench_samples_take(&samples), 2, 0);
        bench_samples_add(&samples, INT64_MAX);
        cr_expect_float_eq(bench_samples_take(&samples), UINT32_MAX, 0);
        cr_expect_float_eq(bench_samples_take(&samples), 0, 0);
}

/* A CPU that halves its speed between two rounds changes no ratio. */
Test(ctl_bench, ratios_are_those_of_one_round) {
        static struct bench_result result;
        for (int round = 0; round < BENCH_ROUNDS; round++) {
                double speed = round % 2 == 0 ? 1 : 2;
                result.rounds[FIGURE_CACHED_4K][round] = 30 * speed;
                result.rounds[FIGURE_MALLOC_PAIR][round] = 20 * speed;
        }
        cr_expect_float_eq(bench_middle(&result, FIGURE_MALLOC_PAIR), 20, 0);
        cr_expect_float_eq(bench_ratio(&result, FIGURE_CACHED_4K, FIGURE_MALLOC_PAIR), 1.5, 0);
        cr_expect(isnan(bench_ratio(&result, FIGURE_CACHED_4K, FIGURE_CACHED_1M)));
        result.rounds[FIGURE_CACHED_4K][3] = (double)NAN;
        cr_expect(isnan(bench_middle(&result, FIGURE_CACHED_4K)));
        cr_expect(isnan(bench_ratio(&result, FIGURE_CACHED_4K, FIGURE_MALLOC_PAIR)));
}

static int cpus_of(pid_t process) {
        cpu_set_t set;
        cr_assert_eq(sched_getaffinity(process, sizeof(set), &set), 0);
        return CPU_COUNT(&set);
}

Test(ctl_bench, pinned_threads_get_their_cpus_back) {
        pid_t child = fork();
        if (child == 0)
                for (;;)
                        pause();
        int before = cpus_of(child);
        struct cpu_pin *pin = cpu_pin_new(child);
        cr_assert_not_null(pin);
        cr_expect_eq(cpus_of(child), 1);
        cr_expect_eq(cpus_of(0), 1);
        cr_expect_eq(sched_getcpu(), cpu_pin_cpu(pin));
        cpu_pin_restore(pin);
        cr_expect_eq(cpus_of(child), before);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        cr_expect_null(cpu_pin_new(child), "a process that is gone cannot be pinned");
}

Test(ctl_bench, a_loosened_daemon_is_tightened_again) {
        pid_t child = fork();
        if (child == 0)
                for (;;)
                        pause();
        int before = cpus_of(child);
        struct cpu_pin *pin = cpu_pin_new(child);
        cr_assert_not_null(pin);
        cpu_pin_loosen(pin);
        cr_expect_eq(cpus_of(child), before);
        cpu_pin_tighten(pin);
        cr_expect_eq(cpus_of(child), 1);
        if (before > 1) {
                cr_expect_neq(cpu_pin_other_cpu(pin), cpu_pin_cpu(pin));
                cr_expect_eq(cpu_move(cpu_pin_other_cpu(pin)), 0);
                cr_expect_eq(sched_getcpu(), cpu_pin_other_cpu(pin));
        } else {
                cr_expect_eq(cpu_pin_other_cpu(pin), -1);
        }
        cpu_pin_restore(pin);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
}

Test(ctl_bench, without_pins_nothing_is_moved) {
        int before = cpus_of(0);
        cpu_pin_loosen(NULL);
        cpu_pin_tighten(NULL);
        cpu_pin_restore(NULL);
        cr_expect_eq(cpus_of(0), before);
}

Test(ctl_bench, a_partner_answers_every_word_and_ends) {
        struct partner_echo *echo;
        cr_assert_eq(partner_echo_start(&echo), 0);
        for (int i = 0; i < 1000; i++)
                cr_assert_eq(partner_echo_exchange(echo), 0);
        partner_echo_stop(echo);
        cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
        partner_echo_stop(NULL);
}

/* As often as the slices of a long run have it. */
Test(ctl_bench, a_partner_that_is_not_asked_for_long_stays) {
        _Atomic uint32_t *word = partner_memory_new(sizeof(*word));
        struct partner_echo *echo;
        cr_assert_not_null(word);
        cr_assert_eq(partner_echo_start(&echo), 0);
        cr_assert_eq(partner_echo_exchange(echo), 0);
        for (int i = 0; i < 2; i++) /* each as long as its own look */
                cr_assert_eq(partner_sleep(word, 0), -ETIMEDOUT);
        cr_expect_eq(partner_echo_exchange(echo), 0);
        partner_echo_stop(echo);
        partner_memory_free(word, sizeof(*word));
}

static void end_at_once(void *context) {
        *(_Atomic uint32_t *)context = 7;
}

Test(ctl_bench, a_partner_that_has_ended_is_not_waited_for_for_ever) {
        _Atomic uint32_t *word = partner_memory_new(sizeof(*word));
        pid_t partner;
        cr_assert_not_null(word);
        cr_assert_eq(partner_start(&partner, end_at_once, word), 0);
        partner_await(partner);
        cr_expect_eq(*word, 7, "the memory is shared");
        cr_expect_eq(partner_sleep(word, 0), 0, "it has changed already");
        cr_expect_eq(partner_sleep(word, 7), -ETIMEDOUT);
        partner_memory_free(word, sizeof(*word));
}

/* The one that tidies up is the child, so that it also happens when this process is killed. */
Test(ctl_bench, the_echo_gives_cpus_back_when_its_socket_closes) {
        pid_t victim = fork();
        if (victim == 0)
                for (;;)
                        pause();
        int before = cpus_of(victim);
        struct cpu_pin *pin = cpu_pin_new(victim);
        cr_assert_not_null(pin);
        struct bench *bench = calloc(1, sizeof(*bench));
        cr_assert_eq(echo_start(bench, pin), 0);
        cr_expect_eq(echo_exchange(bench, 1), 0);
        cr_expect_eq(echo_exchange(bench, BENCH_IN_FLIGHT), 0);
        cr_expect_eq(cpus_of(victim), 1);
        echo_stop(bench);
        cr_expect_eq(cpus_of(victim), before);
        free(bench);
        cpu_pin_restore(pin);
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
}

/* A socket that takes connections and all that is sent, and answers nothing, as a daemon that hangs. */
static int deaf_listen(struct sockaddr_un *address) {
        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/test-ctl-bench-%d",
                (int)getpid());
        unlink(address->sun_path);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(listener, (struct sockaddr *)address, sizeof(*address)), 0);
        cr_assert_eq(listen(listener, 4), 0);
        return listener;
}

Test(ctl_bench, a_burst_that_a_daemon_does_not_answer_finds_it_unreachable) {
        struct sockaddr_un address;
        int listener = deaf_listen(&address);
        struct bench *bench = calloc(1, sizeof(*bench));
        double figures[FIGURE_COUNT];
        cr_assert_eq(observer_open(&bench->raw, &address), 0);
        cr_assert_eq(observer_set_timeout(&bench->raw, 50), 0);
        cr_expect_eq(bench_in_flight(bench, INT64_MAX / 2, figures), -ENOTCONN);
        cr_expect_str_eq(bench->detail, "the daemon does not answer");
        close(listener);
        bench->detail[0] = 0;
        cr_expect_eq(bench_in_flight(bench, INT64_MAX / 2, figures), -ENOTCONN);
        cr_expect_str_eq(bench->detail, "the daemon closed the connection");
        observer_close(&bench->raw);
        free(bench);
        unlink(address.sun_path);
}

/* The consumer waits for the daemon, and the producer, not quite as long, for the consumer. */
Test(ctl_bench, a_consumer_that_a_daemon_does_not_answer_finds_it_unreachable) {
        struct sockaddr_un address;
        int listener = deaf_listen(&address);
        struct bench *bench = calloc(1, sizeof(*bench));
        double figures[FIGURE_COUNT];
        bench->socket = address.sun_path;
        bench->pool = "default";
        cr_expect_eq(bench_hand_over_single(bench, 1, figures), -ENOTCONN);
        cr_expect(strstr(bench->detail, "second process"), "%s", bench->detail);
        free(bench);
        close(listener);
        unlink(address.sun_path);
}
