/* The keys that say who may use a pool: lists of names and numbers. */
#include "settings_source.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATORS ", \t"

struct id_kind {
        const char *noun;
        bool (*find)(const char *name, uint32_t *id);
};

static bool user_find(const char *name, uint32_t *id) {
        const struct passwd *user = getpwnam(name);
        if (user)
                *id = user->pw_uid;
        return user;
}

static bool group_find(const char *name, uint32_t *id) {
        const struct group *group = getgrnam(name);
        if (group)
                *id = group->gr_gid;
        return group;
}

static const struct id_kind id_user = {"user", user_find}, id_group = {"group", group_find};

static bool number_parse(const char *text, uint32_t *id) {
        if (!*text || text[strspn(text, "0123456789")])
                return false;
        errno = 0;
        unsigned long value = strtoul(text, NULL, 10);
        if (errno || value >= UINT32_MAX)
                return false;
        *id = (uint32_t)value;
        return true;
}

static bool id_list_add(
        struct id_list *list, const struct id_kind *kind, const char *word, char *fault) {
        uint32_t id;
        if (!kind->find(word, &id) && !number_parse(word, &id))
                return setting_refuse(fault,
                        "there is no %s '%.64s'; create it, or give another one or a number",
                        kind->noun, word);
        if (list->count == ID_LIST_MAX)
                return setting_refuse(
                        fault, "more than %u entries; put them into a group", ID_LIST_MAX);
        list->ids[list->count++] = id;
        return true;
}

static bool id_list_parse(
        struct id_list *out, const struct id_kind *kind, const char *value, char *fault) {
        char *copy = strdup(value), *rest = NULL;
        struct id_list list = {0};
        if (!copy)
                return setting_refuse_memory(fault);
        bool fine = true;
        for (char *word = strtok_r(copy, SEPARATORS, &rest); word && fine;
                word = strtok_r(NULL, SEPARATORS, &rest))
                fine = id_list_add(&list, kind, word, fault);
        free(copy);
        if (fine && list.count == 0)
                return setting_refuse(
                        fault, "the list is empty; give a %s, or remove the key", kind->noun);
        if (fine)
                *out = list;
        return fine;
}

bool setting_allow_users(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        return id_list_parse(&pool->pool.admission.users, &id_user, value, fault);
}

bool setting_allow_groups(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        return id_list_parse(&pool->pool.admission.groups, &id_group, value, fault);
}

bool setting_read_only_users(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        return id_list_parse(&pool->pool.admission.read_only_users, &id_user, value, fault);
}

bool setting_read_only_groups(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        return id_list_parse(&pool->pool.admission.read_only_groups, &id_group, value, fault);
}
