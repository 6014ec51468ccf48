/* Blocks that their holders keep without using them: by which name others know one, and when by none. */
#include <criterion/criterion.h>
#include <errno.h>

#include "pool_fixture.h"

#define PAGES 4096

static struct pool_fixture fixture;
static struct pool *pool;
static uint32_t ada, bob, eve;

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        pool = fixture.pool;
        ada = fixture_session(&fixture, "ada", 1000);
        bob = fixture_session(&fixture, "bob", 1001);
        eve = fixture_session(&fixture, "eve", 1002);
}

static void teardown(void) {
        fixture_check(&fixture);
        fixture_deinit(&fixture);
}

TestSuite(pool_cache, .init = setup, .fini = teardown);

static uint32_t name_of(struct block block) {
        uint32_t use;
        pool_owner(pool, block, &use);
        return use;
}

static struct block named_gift(uint32_t use) {
        struct block block = fixture_granted(&fixture, ada, 2);
        size_t bad;
        pool_name_block(pool, block, use);
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, bob, &bad), 0);
        cr_assert_eq(name_of(block), use, "the name goes along");
        return block;
}

Test(pool_cache, a_block_that_is_its_owners_alone_loses_its_name) {
        struct block block = named_gift(3);
        cr_assert(pool_unname_block(pool, block, bob));
        cr_assert_eq(name_of(block), 0);
        pool_name_block(pool, block, 4);
        cr_assert_eq(name_of(block), 4);
}

Test(pool_cache, whoever_does_not_own_a_block_cannot_take_its_name) {
        struct block block = named_gift(3), other_life = block;
        other_life.generation++;
        cr_assert_not(pool_unname_block(pool, block, ada));
        cr_assert_not(pool_unname_block(pool, other_life, bob));
        cr_assert_eq(name_of(block), 3);
}

Test(pool_cache, a_block_that_others_hold_keeps_its_name) {
        struct block block = named_gift(3);
        bool freed;
        cr_assert_eq(pool_attach(pool, eve, block), 0);
        cr_assert_not(pool_unname_block(pool, block, bob));
        cr_assert_eq(name_of(block), 3);
        cr_assert_eq(pool_release(pool, eve, block, &freed), 0);
        cr_assert(pool_unname_block(pool, block, bob));
}

Test(pool_cache, a_block_under_a_key_keeps_its_name) {
        struct block block = named_gift(3);
        cr_assert_eq(pool_publish(pool, bob, "key", block, 3), 0);
        cr_assert_not(pool_unname_block(pool, block, bob));
        cr_assert_eq(pool_unpublish(pool, bob, "key"), 0);
        cr_assert(pool_unname_block(pool, block, bob));
}

/* Bob holds it twice: what is his alone is so by one hold. */
Test(pool_cache, a_block_that_its_owner_attached_to_keeps_its_name) {
        struct block block = named_gift(3);
        cr_assert_eq(pool_attach(pool, bob, block), 0);
        cr_assert_not(pool_unname_block(pool, block, bob));
        cr_assert_eq(name_of(block), 3);
}

Test(pool_cache, a_dead_block_has_no_name_to_take) {
        struct block block = named_gift(3);
        bool freed;
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert(freed);
        cr_assert_not(pool_unname_block(pool, block, bob));
}

Test(pool_cache, only_a_further_hold_is_a_share) {
        struct block block = named_gift(3);
        bool freed;
        cr_assert_not(pool_session_shares(pool, bob, block));
        cr_assert_eq(pool_attach(pool, bob, block), 0);
        cr_assert(pool_session_shares(pool, bob, block));
        cr_assert_not(pool_session_shares(pool, eve, block));
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert_not(pool_session_shares(pool, bob, block), "the hold that it has is a gift");
        cr_assert(pool_session_holds(pool, bob, block));
}

/* Whoever looked at the owner before meets the same one, or is told. */
Test(pool_cache, an_attach_of_an_owner_meets_that_one) {
        struct block block = fixture_granted(&fixture, ada, 2);
        bool freed;
        cr_assert_eq(pool_attach_of(pool, eve, bob, block), -EAGAIN);
        cr_assert_eq(pool_attach_of(pool, eve, 0, block), -EAGAIN);
        cr_assert_not(pool_session_holds(pool, eve, block));
        cr_assert_eq(pool_attach_of(pool, eve, ada, block), 0);
        cr_assert_eq(pool_release(pool, ada, block, &freed), 0);
        cr_assert_eq(pool_attach_of(pool, bob, ada, block), -EAGAIN);
        cr_assert_eq(pool_attach_of(pool, bob, 0, block), 0, "nobody owns it");
        cr_assert_eq(pool_release(pool, eve, block, &freed), 0);
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert(freed);
        cr_assert_eq(pool_attach_of(pool, bob, 0, block), -ESTALE);
}

struct told {
        unsigned count;
        uint32_t use; /* of the last one */
};

static void tell(void *context, struct block block, uint32_t use) {
        struct told *told = context;
        (void)block;
        told->count++;
        told->use = use;
}

static struct told held_of(uint32_t session) {
        struct told told = {0};
        pool_each_held(pool, session, tell, &told);
        return told;
}

static unsigned shared_of(uint32_t session) {
        struct told told = {0};
        pool_each_shared(pool, session, tell, &told);
        return told.count;
}

Test(pool_cache, each_hold_is_told_of) {
        struct block block = named_gift(3);
        fixture_granted(&fixture, eve, 0);
        cr_assert_eq(held_of(ada).count, 0);
        cr_assert_eq(held_of(bob).count, 1);
        cr_assert_eq(held_of(bob).use, 3);
        cr_assert_eq(shared_of(bob), 0);
        cr_assert_eq(pool_attach(pool, eve, block), 0);
        cr_assert_eq(held_of(eve).count, 2);
        cr_assert_eq(held_of(eve).use, 3, "the further hold comes last");
        cr_assert_eq(shared_of(bob), 1);
        cr_assert_eq(shared_of(eve), 0, "it owns what nobody else has");
}
