#include <criterion/criterion.h>

#include "daemon/turns.h"

/* Runs whoever's turn it is until the first share has had count turns of so long; how many the second had. */
static unsigned turns_of_other(struct turns *turns, struct share *first, struct share *second,
        unsigned count, uint64_t first_ns, uint64_t second_ns) {
        unsigned others = 0;
        for (unsigned had = 0; had < count;) {
                struct share *share;
                struct link *turn = turns_next(turns, &share);
                cr_assert_not_null(turn);
                turns_charge(share, share == first ? first_ns : second_ns);
                had += share == first;
                others += share == second;
                turns_add(turns, share, turn);
        }
        return others;
}

Test(turns, uids_share_the_time_whatever_each_turn_takes) {
        struct turns turns;
        struct link connections[17];
        turns_init(&turns);
        struct share *many = turns_join(&turns, 1);
        cr_assert_not(turns_contended(&turns));
        for (int i = 1; i < 16; i++)
                cr_assert_eq(turns_join(&turns, 1), many);
        struct share *one = turns_join(&turns, 2);
        cr_assert(turns_contended(&turns));
        for (int i = 0; i < 17; i++) {
                link_init(&connections[i]);
                turns_add(&turns, i < 16 ? many : one, &connections[i]);
        }
        unsigned others = turns_of_other(&turns, one, many, 1000, 10, 10);
        cr_expect(others >= 999 && others <= 1001, "%u turns against 1000", others);
        others = turns_of_other(&turns, one, many, 1000, 10, 100);
        cr_expect(others >= 99 && others <= 111, "%u long turns against 1000 short ones", others);
        turns_leave(&turns, one);
        cr_expect_not(turns_contended(&turns));
        for (int i = 0; i < 16; i++)
                turns_leave(&turns, many);
        cr_expect_not(link_used(&turns.shares));
}

Test(turns, connections_of_a_uid_come_round) {
        struct turns turns;
        struct share *share, *mine;
        struct link connections[3];
        turns_init(&turns);
        mine = turns_join(&turns, 5);
        for (int i = 0; i < 3; i++) {
                link_init(&connections[i]);
                turns_add(&turns, mine, &connections[i]);
        }
        for (int i = 0; i < 9; i++) {
                struct link *turn = turns_next(&turns, &share);
                cr_expect_eq(turn, &connections[i % 3]);
                turns_add(&turns, mine, turn);
        }
        for (int i = 0; i < 3; i++)
                link_remove(&connections[i]);
        cr_expect_null(turns_next(&turns, &share));
        cr_expect_not(turns_waiting(&turns));
        turns_leave(&turns, mine);
}

/* Who was idle for long may not make up for it at others' cost. */
Test(turns, idle_time_is_not_saved_up) {
        struct turns turns;
        struct share *share, *busy, *late;
        struct link busy_connection, late_connection;
        turns_init(&turns);
        busy = turns_join(&turns, 1);
        late = turns_join(&turns, 2);
        link_init(&busy_connection);
        link_init(&late_connection);
        turns_add(&turns, busy, &busy_connection);
        for (int i = 0; i < 1000; i++) {
                struct link *turn = turns_next(&turns, &share);
                turns_charge(share, 10);
                turns_add(&turns, share, turn);
        }
        turns_add(&turns, late, &late_connection);
        unsigned lates = turns_of_other(&turns, busy, late, 100, 10, 10);
        cr_expect(lates >= 99 && lates <= 102, "%u turns for one that was idle", lates);
        link_remove(&busy_connection);
        link_remove(&late_connection);
        turns_leave(&turns, busy);
        turns_leave(&turns, late);
}
