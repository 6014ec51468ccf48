/* Doubly linked rings of embedded links. A list is a link that points at itself when empty; an
 * element is in no list when its link does. No ownership, no lock: both are the holder's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct link {
        struct link *next, *previous;
};

/* The structure that embeds this link. */
#define LINK_OWNER(pointer, type, member)                                                          \
        ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void link_init(struct link *link) {
        link->next = link->previous = link;
}

/* Of an element: it is in a list. Of a list: it has elements. */
static inline bool link_used(const struct link *link) {
        return link->next != link;
}

/* Puts it behind another element, or to the front of a list. */
static inline void list_insert(struct link *behind, struct link *element) {
        element->next = behind->next;
        element->previous = behind;
        behind->next->previous = element;
        behind->next = element;
}

static inline void list_append(struct link *list, struct link *element) {
        list_insert(list->previous, element);
}

/* Takes an element out of its list; one that is in none stays so. */
static inline void link_remove(struct link *element) {
        element->previous->next = element->next;
        element->next->previous = element->previous;
        link_init(element);
}

/* Moves all elements behind those of another list. */
static inline void list_move(struct link *from, struct link *to) {
        if (!link_used(from))
                return;
        from->next->previous = to->previous;
        to->previous->next = from->next;
        from->previous->next = to;
        to->previous = from->previous;
        link_init(from);
}
