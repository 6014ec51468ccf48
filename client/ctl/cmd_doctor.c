/* doctor: runs all parts and prints what they found. */
#include <stdio.h>

#include "ask.h"
#include "doctor.h"
#include "json.h"
#include "printable.h"
#include "terminal.h"

static const char *const state_names[] = {
        [FINDING_FINE] = "ok",
        [FINDING_WRONG] = "wrong",
        [FINDING_UNKNOWN] = "unknown",
};

static void print_text(const struct doctor *doctor) {
        for (size_t i = 0; i < doctor->count; i++) {
                const struct finding *finding = &doctor->findings[i];
                if (finding->state == FINDING_WRONG)
                        terminal_style(stdout, STYLE_STRONG);
                printf("%-8s %-12s ", state_names[finding->state], finding->name);
                printable_write(stdout, finding->said);
                terminal_style(stdout, STYLE_PLAIN);
                if (finding->mend[0] != '\0') {
                        fputs("\n                      mend: ", stdout);
                        printable_write(stdout, finding->mend);
                }
                putchar('\n');
        }
}

static void print_json(const struct doctor *doctor, bool well) {
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_bool(&json, "ok", well);
        json_bool(&json, "daemon_answers", doctor->answers);
        json_begin_array(&json, "findings");
        for (size_t i = 0; i < doctor->count; i++) {
                json_begin_object(&json, NULL);
                json_text(&json, "name", doctor->findings[i].name);
                json_text(&json, "state", state_names[doctor->findings[i].state]);
                json_text(&json, "said", doctor->findings[i].said);
                json_text(&json, "mend", doctor->findings[i].mend);
                json_end_object(&json);
        }
        json_end_array(&json);
        json_end_object(&json);
        json_end_document(&json);
}

enum exit_status cmd_doctor(const struct invocation *invocation) {
        static struct doctor doctor;
        struct sockaddr_un address;
        enum exit_status status = ask_socket(invocation, &address);
        if (status != EXIT_DONE)
                return status;
        doctor = (struct doctor){.socket_path = address.sun_path, .pool = ask_pool(invocation)};
        doctor_socket(&doctor);
        doctor_limits(&doctor);
        doctor_segment(&doctor);
        doctor_shm(&doctor);
        doctor_memory(&doctor);
        doctor_cgroup(&doctor);
        doctor_huge_pages(&doctor);
        doctor_left(&doctor);
        bool well = true;
        for (size_t i = 0; i < doctor.count; i++)
                well &= doctor.findings[i].state != FINDING_WRONG;
        if (invocation_has(invocation, OPTION_JSON))
                print_json(&doctor, well);
        else
                print_text(&doctor);
        if (!doctor.answers)
                return EXIT_UNREACHABLE;
        return well ? EXIT_DONE : EXIT_FAULT;
}
