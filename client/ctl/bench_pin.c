/* CPUs: a round trip between two CPUs costs a wake-up that is ten times what is measured here, so all who
 * take part share one. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

struct pinned_thread {
        pid_t thread;
        cpu_set_t before;
};

struct cpu_pin {
        int cpu, other_cpu;            /* other_cpu -1: this process has no second one */
        cpu_set_t before;              /* of this process */
        struct pinned_thread *threads; /* of the daemon; owned */
        size_t count, capacity;
};

int cpu_pin_cpu(const struct cpu_pin *pin) {
        return pin->cpu;
}

int cpu_pin_other_cpu(const struct cpu_pin *pin) {
        return pin->other_cpu;
}

int cpu_move(int cpu) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        return sched_setaffinity(0, sizeof(one), &one) != 0 ? -errno : 0;
}

void cpu_pin_loosen(const struct cpu_pin *pin) {
        for (size_t i = 0; pin && i < pin->count; i++)
                sched_setaffinity(
                        pin->threads[i].thread, sizeof(cpu_set_t), &pin->threads[i].before);
}

void cpu_pin_tighten(const struct cpu_pin *pin) {
        cpu_set_t one;
        CPU_ZERO(&one);
        if (pin)
                CPU_SET((size_t)pin->cpu, &one);
        for (size_t i = 0; pin && i < pin->count; i++)
                sched_setaffinity(pin->threads[i].thread, sizeof(one), &one);
}

void cpu_pin_restore(struct cpu_pin *pin) {
        if (!pin)
                return;
        cpu_pin_loosen(pin);
        free(pin->threads);
        free(pin);
}

static int pin_thread(struct cpu_pin *pin, pid_t thread) {
        if (pin->count == pin->capacity) {
                size_t capacity = pin->capacity == 0 ? 16 : pin->capacity * 2;
                struct pinned_thread *grown = reallocarray(pin->threads, capacity, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                pin->threads = grown;
                pin->capacity = capacity;
        }
        struct pinned_thread *entry = &pin->threads[pin->count];
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)pin->cpu, &one);
        entry->thread = thread;
        if (sched_getaffinity(thread, sizeof(entry->before), &entry->before) != 0 ||
                sched_setaffinity(thread, sizeof(one), &one) != 0)
                return -errno;
        pin->count++;
        return 0;
}

static int pin_process(struct cpu_pin *pin, pid_t process) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/task", (int)process);
        DIR *tasks = opendir(path);
        if (!tasks)
                return -errno;
        int error = 0;
        for (struct dirent *entry = readdir(tasks); entry && error == 0; entry = readdir(tasks)) {
                pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
                if (thread > 0)
                        error = pin_thread(pin, thread);
                if (error == -ESRCH) /* it has ended meanwhile */
                        error = 0;
        }
        closedir(tasks);
        return error;
}

static int find_other_cpu(const struct cpu_pin *pin) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (cpu != pin->cpu && CPU_ISSET((size_t)cpu, &pin->before))
                        return cpu;
        return -1;
}

/* Where this process is, and where it may be. */
static int look_around(struct cpu_pin *pin) {
        pin->cpu = sched_getcpu();
        if (pin->cpu < 0 || sched_getaffinity(0, sizeof(pin->before), &pin->before) != 0)
                return -errno;
        pin->other_cpu = find_other_cpu(pin);
        return 0;
}

struct cpu_pin *cpu_pin_new(pid_t daemon) {
        struct cpu_pin *pin = calloc(1, sizeof(*pin));
        if (!pin)
                return NULL;
        int error = look_around(pin);
        if (error == 0 && daemon != 0)
                error = pin_process(pin, daemon);
        if (error == 0)
                error = cpu_move(pin->cpu);
        if (error != 0) {
                cpu_pin_restore(pin);
                return NULL;
        }
        return pin;
}
