/* See gift_table.h. */
#include "gift_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct board *board;
struct player players[CLIENTS];

static _Atomic uint64_t *marks; /* shared, too: no process has another's */

/* What some client holds, or held a while ago. */
static struct {
        pthread_mutex_t lock;
        struct parcel parcel;
} offers[OFFERS];

static void *shared(size_t size) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
}

bool table_open(void) {
        board = shared(sizeof(*board));
        marks = shared(sizeof(*marks));
        for (size_t each = 0; each < OFFERS; each++)
                pthread_mutex_init(&offers[each].lock, NULL);
        for (size_t each = 0; each < CLIENTS; each++)
                pthread_mutex_init(&players[each].lock, NULL);
        return board && marks;
}

/* ---- Faults ---- */

bool table_stopped(void) {
        return atomic_load_explicit(&board->stop, memory_order_relaxed);
}

void fail(const char *what, int rc) {
        fprintf(stderr, "stress_gifts: %s: %d (%s)\n", what, rc, buddyclient_strerror(rc));
        atomic_store(&board->failed, true);
        atomic_store(&board->stop, true);
}

void need(const char *what, int rc) {
        if (rc != 0)
                fail(what, rc);
}

void need_stale(const char *what, int rc) {
        if (rc != -ESTALE)
                fail(what, rc);
}

/* ---- Marks ---- */

static _Atomic uint64_t *word_at(
        struct buddyclient *client, const struct buddyclient_range *range, uint64_t at) {
        char *bytes = buddyclient_pointer(client, range);
        return (_Atomic uint64_t *)(void *)(bytes + at);
}

void parcel_mark(struct buddyclient *client, struct parcel *parcel) {
        parcel->mark = atomic_fetch_add(marks, 1) + 1;
        for (uint64_t at = 0; at < parcel->range.length; at += PAGE)
                atomic_store(word_at(client, &parcel->range, at), parcel->mark);
}

void parcel_expect(struct buddyclient *client, const struct parcel *parcel, const char *where) {
        for (uint64_t at = 0; at < parcel->range.length; at += PAGE) {
                uint64_t found = atomic_load(word_at(client, &parcel->range, at));
                if (found == parcel->mark)
                        continue;
                fprintf(stderr, "page %" PRIu64 ": mark %" PRIx64 " where %" PRIx64 " holds, %s\n",
                        (parcel->range.offset + at) / PAGE, found, parcel->mark, where);
                fail("a range bears another's mark", -EUCLEAN);
                return;
        }
}

/* ---- Mail and offers ---- */

bool mail_post(struct player *to, const struct parcel *parcel) {
        pthread_mutex_lock(&to->lock);
        bool room = to->mail_count < MAIL_MAX;
        if (room)
                to->mail[to->mail_count++] = *parcel;
        pthread_mutex_unlock(&to->lock);
        return room;
}

bool mail_take(struct player *player, struct parcel *out) {
        pthread_mutex_lock(&player->lock);
        bool any = player->mail_count > 0;
        if (any) {
                *out = player->mail[0];
                player->mail_count--;
                memmove(player->mail, player->mail + 1, player->mail_count * sizeof(*out));
        }
        pthread_mutex_unlock(&player->lock);
        return any;
}

void offer_put(unsigned place, const struct parcel *parcel) {
        pthread_mutex_lock(&offers[place].lock);
        offers[place].parcel = *parcel;
        pthread_mutex_unlock(&offers[place].lock);
}

bool offer_look(unsigned place, struct parcel *out) {
        pthread_mutex_lock(&offers[place].lock);
        *out = offers[place].parcel;
        pthread_mutex_unlock(&offers[place].lock);
        return out->range.length != 0;
}
