/* See admission.h. */
#include "admission.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static bool id_list_has(const struct id_list *list, uint32_t id) {
        for (uint32_t i = 0; i < list->count; i++)
                if (list->ids[i] == id)
                        return true;
        return false;
}

static bool groups_meet(
        const struct id_list *list, uint32_t gid, const gid_t *others, size_t count) {
        if (id_list_has(list, gid))
                return true;
        for (size_t i = 0; i < count; i++)
                if (id_list_has(list, others[i]))
                        return true;
        return false;
}

static bool admission_is_open(const struct admission_settings *settings) {
        return settings->users.count + settings->groups.count + settings->read_only_users.count +
                       settings->read_only_groups.count ==
               0;
}

enum admission admission_of(
        const struct admission_settings *settings, const struct peer *peer, int socket_fd) {
        if (peer->uid == 0 || peer->uid == getuid() || admission_is_open(settings) ||
                id_list_has(&settings->users, peer->uid))
                return ADMISSION_READ_WRITE;
        gid_t *others = NULL;
        size_t count = 0;
        if (settings->groups.count + settings->read_only_groups.count > 0)
                peer_groups(socket_fd, &others, &count);
        enum admission admission = ADMISSION_NONE;
        if (groups_meet(&settings->groups, peer->gid, others, count))
                admission = ADMISSION_READ_WRITE;
        else if (id_list_has(&settings->read_only_users, peer->uid) ||
                 groups_meet(&settings->read_only_groups, peer->gid, others, count))
                admission = ADMISSION_READ_ONLY;
        free(others);
        return admission;
}
