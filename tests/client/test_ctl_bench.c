/* What bench computes with, and that a daemon's threads get their CPUs back. */
#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"

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
        double figures[FIGURE_COUNT] = {0};
        cr_assert_eq(echo_start(bench, pin), 0);
        cr_expect_eq(bench_socket_round_trip(bench, 1000000, figures), 0);
        cr_expect_eq(bench_socket_in_flight(bench, 1000000, figures), 0);
        cr_expect_gt(figures[FIGURE_SOCKET_ROUND_TRIP], 0);
        cr_expect_gt(figures[FIGURE_SOCKET_IN_FLIGHT], 0);
        cr_expect_eq(cpus_of(victim), 1);
        echo_stop(bench);
        cr_expect_eq(cpus_of(victim), before);
        free(bench);
        cpu_pin_restore(pin);
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
}
