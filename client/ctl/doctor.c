/* Adding findings. */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>

void doctor_say(struct doctor *doctor, const char *name, enum finding_state state,
        const char *format, ...) {
        if (doctor->count == FINDINGS_MAX)
                return;
        struct finding *finding = &doctor->findings[doctor->count++];
        finding->name = name;
        finding->state = state;
        finding->mend[0] = '\0';
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(finding->said, sizeof(finding->said), format, arguments);
        va_end(arguments);
}

void doctor_mend(struct doctor *doctor, const char *format, ...) {
        struct finding *finding = &doctor->findings[doctor->count - 1];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(finding->mend, sizeof(finding->mend), format, arguments);
        va_end(arguments);
}

uint64_t doctor_missing_bytes(const struct doctor *doctor) {
        const struct reply_stats *stats = &doctor->stats;
        if (!doctor->has_stats || stats->resident_bytes >= stats->size_bytes)
                return 0;
        return stats->size_bytes - stats->resident_bytes;
}
