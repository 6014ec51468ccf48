/* Accounts: what each uid's sessions and keys hold, against what they may. Two kinds of limits: a figure, which counts
 * for all; and a share, by which nobody takes more than the half of what the others leave, so that each who comes finds
 * something left (after dbus-broker's accounting of users). */
#include "pool_private.h"

#include <errno.h>

static uint64_t sum_load(const _Atomic uint64_t *sum) {
        return atomic_load_explicit(sum, memory_order_relaxed);
}

static void sum_add(_Atomic uint64_t *sum, uint64_t change) {
        atomic_fetch_add_explicit(sum, change, memory_order_relaxed);
}

static uint64_t limit_load(const uint64_t *limit) {
        return __atomic_load_n(limit, __ATOMIC_RELAXED);
}

static void limit_store(uint64_t *limit, uint64_t value) {
        __atomic_store_n(limit, value, __ATOMIC_RELAXED);
}

/* ---- Settling ---- */

static void settle(_Atomic uint64_t *sum, uint64_t now, uint64_t *settled) {
        if (now == *settled)
                return;
        sum_add(sum, now - *settled);
        *settled = now;
}

void holder_unlock(struct holder *holder) {
        struct account *account = holder->account;
        if (account) {
                settle(&account->bytes, holder->held_bytes, &holder->settled.bytes);
                settle(&account->ranges, holder->held_ranges, &holder->settled.ranges);
                settle(&account->holds, holder->hold_words, &holder->settled.holds);
                settle(&account->given_bytes, holder->given_bytes, &holder->settled.given_bytes);
                settle(&account->given_ranges, holder->given_ranges, &holder->settled.given_ranges);
                settle(&account->given_holds, holder->given_holds, &holder->settled.given_holds);
        }
        spinlock_unlock(&holder->lock);
}

void holder_count_gift(struct holder *holder, bool given, struct gift gift) {
        if (!given)
                return;
        holder->given_ranges++;
        holder->given_bytes += gift.bytes;
        holder->given_holds += gift.further;
}

void holder_uncount_gift(struct holder *holder, bool given, struct gift gift) {
        if (!given)
                return;
        holder->given_ranges--;
        holder->given_bytes -= gift.bytes;
        holder->given_holds -= gift.further;
}

/* ---- Accounts ---- */

static uint32_t *account_bucket(struct pool *pool, uint32_t uid) {
        return &pool->account_buckets[(uid * UINT32_C(2654435761)) % ACCOUNT_BUCKETS];
}

struct account *account_find_locked(struct pool *pool, uint32_t uid) {
        uint32_t at = *account_bucket(pool, uid);
        while (at && pool->accounts[at - 1].uid != uid)
                at = pool->accounts[at - 1].next;
        return at ? &pool->accounts[at - 1] : NULL;
}

struct account *account_join_locked(struct pool *pool, uint32_t uid) {
        struct account *account = account_find_locked(pool, uid);
        if (!account) {
                uint32_t slot = pool->free_account ? pool->free_account - 1 : pool->accounts_used++;
                account = &pool->accounts[slot];
                if (pool->free_account)
                        pool->free_account = account->next;
                uint32_t *bucket = account_bucket(pool, uid);
                account->uid = uid;
                account->next = *bucket;
                *bucket = slot + 1;
        }
        account->refs++;
        return account;
}

void account_leave_locked(struct pool *pool, struct account *account) {
        if (--account->refs > 0)
                return;
        uint32_t slot = (uint32_t)(account - pool->accounts);
        uint32_t *place = account_bucket(pool, account->uid);
        while (*place != slot + 1)
                place = &pool->accounts[*place - 1].next;
        *place = account->next;
        account->next = pool->free_account;
        pool->free_account = slot + 1;
}

/* ---- Limits ---- */

static bool uid_is_privileged(const struct pool *pool, uint32_t uid) {
        return uid == 0 || uid == __atomic_load_n(&pool->limits.privileged_uid, __ATOMIC_RELAXED);
}

/* So much more of something of which so much is left, when its holder has some of it. As a share each gets half of what the
 * others leave: own + more <= (own + left) / 2. */
static bool limit_allows(
        const struct pool *pool, const uint64_t *limit, uint32_t uid, uint64_t own, uint64_t left) {
        uint64_t allowed = limit_load(limit);
        if (allowed == LIMIT_SHARE)
                return uid_is_privileged(pool, uid) || own + 1 <= (own + left) / 2;
        return own < allowed;
}

/* What it comes to in figures. */
static uint64_t limit_allowed(const uint64_t *limit, uint64_t own, uint64_t left) {
        uint64_t allowed = limit_load(limit);
        return allowed == LIMIT_SHARE ? (own + left) / 2 : allowed;
}

static bool is_over(uint64_t used, uint64_t more, uint64_t allowed) {
        return more > 0 && allowed < LIMIT_SHARE && (used > allowed || more > allowed - used);
}

/* Charges what is not too much, and nothing else: nobody is refused for what another was refused. */
static bool charge_user(
        const uint64_t *limit, _Atomic uint64_t *sum, uint64_t *settled, uint64_t more) {
        uint64_t allowed = limit_load(limit);
        if (allowed >= LIMIT_SHARE || more == 0)
                return true;
        uint64_t before = sum_load(sum);
        do {
                if (is_over(before, more, allowed))
                        return false;
        } while (!atomic_compare_exchange_weak_explicit(
                sum, &before, before + more, memory_order_relaxed, memory_order_relaxed));
        *settled += more;
        return true;
}

static bool client_is_over(
        const struct pool *pool, const struct holder *holder, uint64_t bytes, uint64_t ranges) {
        return is_over(holder->held_bytes, bytes, limit_load(&pool->limits.client_bytes)) ||
               is_over(holder->held_ranges, ranges, limit_load(&pool->limits.client_ranges));
}

int account_charge_locked(struct pool *pool, uint32_t session, uint64_t bytes, uint64_t ranges) {
        struct holder *holder = &pool->holders[session];
        struct account *account = holder->account;
        if (!account)
                return 0;
        if (client_is_over(pool, holder, bytes, ranges) ||
                is_over(sum_load(&account->ranges), ranges,
                        limit_load(&pool->limits.user_ranges)) ||
                !charge_user(
                        &pool->limits.user_bytes, &account->bytes, &holder->settled.bytes, bytes) ||
                !charge_user(&pool->limits.user_ranges, &account->ranges, &holder->settled.ranges,
                        ranges))
                return -EDQUOT;
        return 0;
}

int account_admit_session_locked(struct pool *pool, uint32_t uid) {
        const struct account *account = account_find_locked(pool, uid);
        uint64_t own = account ? sum_load(&account->clients) : 0;
        uint64_t left = LEDGER_SESSIONS - 2 - pool->sessions_open;
        return limit_allows(pool, &pool->limits.user_clients, uid, own, left) ? 0 : -EDQUOT;
}

static uint64_t holds_left_locked(const struct pool *pool) {
        return pool->ledger.hold_count - pool->holds_taken;
}

/* At once, as the table is what is shared. */
static void charge_holds_locked(struct holder *holder, uint64_t more) {
        sum_add(&holder->account->holds, more);
        holder->settled.holds += more;
}

int account_charge_hold_locked(struct pool *pool, struct holder *holder) {
        const struct account *account = holder->account;
        if (!account)
                return 0;
        if (!limit_allows(pool, &pool->limits.user_holds, account->uid, sum_load(&account->holds),
                    holds_left_locked(pool)))
                return -EDQUOT;
        charge_holds_locked(holder, 1);
        return 0;
}

/* ---- Gifts ---- */

/* What somebody uses of a limit, and how much of that others gave. */
struct gift_limit {
        enum pool_limit limit;
        uint64_t allowed, used, given, more;
};

/* What others give, also where the receiver uses it anew, may come to half of what is left beside it: the other half is left for what
 * it takes itself. */
static bool gift_find_excess(const struct gift_limit *limit, struct pool_excess *out) {
        uint64_t own = limit->used > limit->given ? limit->used - limit->given : 0;
        uint64_t room = own < limit->allowed ? (limit->allowed - own) / 2 : 0;
        if (!is_over(limit->given, limit->more, limit->allowed < LIMIT_SHARE ? room : LIMIT_NONE))
                return false;
        out->limit = limit->limit;
        out->used = limit->given;
        out->allowed = room;
        out->gift = true;
        return true;
}

/* Also of who is free of shares: it does not take these itself. Needs the session and the table. */
static bool gift_find_excess_of_holds_locked(const struct pool *pool, const struct holder *holder,
        const struct pool_want *gift, struct pool_excess *out) {
        const struct account *account = holder->account;
        uint64_t used = sum_load(&account->holds);
        const struct gift_limit limit = {POOL_LIMIT_USER_HOLDS,
                limit_allowed(&pool->limits.user_holds, used, holds_left_locked(pool)), used,
                sum_load(&account->given_holds), gift->holds};
        return gift_find_excess(&limit, out);
}

/* Needs the session. */
static bool gift_find_excess_locked(const struct pool *pool, const struct holder *holder,
        const struct pool_want *gift, struct pool_excess *out) {
        const struct pool_limits *limits = &pool->limits;
        const struct account *account = holder->account;
        const struct gift_limit all[] = {
                {POOL_LIMIT_CLIENT_BYTES, limit_load(&limits->client_bytes), holder->held_bytes,
                        holder->given_bytes, gift->bytes},
                {POOL_LIMIT_CLIENT_RANGES, limit_load(&limits->client_ranges), holder->held_ranges,
                        holder->given_ranges, gift->ranges},
                {POOL_LIMIT_USER_BYTES, limit_load(&limits->user_bytes), sum_load(&account->bytes),
                        sum_load(&account->given_bytes), gift->bytes},
                {POOL_LIMIT_USER_RANGES, limit_load(&limits->user_ranges),
                        sum_load(&account->ranges), sum_load(&account->given_ranges), gift->ranges},
        };
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (gift_find_excess(&all[i], out))
                        return true;
        return false;
}

int account_charge_gift_locked(struct pool *pool, uint32_t session, const struct pool_want *gift) {
        struct holder *holder = &pool->holders[session];
        struct pool_excess excess;
        if (holder->account == pool->holders[gift->giver].account)
                return client_is_over(pool, holder, gift->bytes, gift->ranges) ? -EDQUOT : 0;
        if (!holder->account)
                return 0;
        if (gift_find_excess_locked(pool, holder, gift, &excess))
                return -EDQUOT;
        spinlock_lock(&pool->table_lock);
        int r = gift_find_excess_of_holds_locked(pool, holder, gift, &excess) ? -EDQUOT : 0;
        if (r == 0)
                charge_holds_locked(holder, gift->holds);
        spinlock_unlock(&pool->table_lock);
        return r == 0 ? account_charge_locked(pool, session, gift->bytes, gift->ranges) : r;
}

/* ---- Keys ---- */

static uint64_t keys_left(struct pool *pool) {
        return LEDGER_KEYS - atomic_load_explicit(&pool->keys_taken, memory_order_relaxed);
}

int account_add_key(struct pool *pool, uint32_t uid, uint64_t bytes) {
        spinlock_lock(&pool->table_lock);
        const struct account *found = account_find_locked(pool, uid);
        uint64_t own = found ? sum_load(&found->keys) : 0;
        int r = limit_allows(pool, &pool->limits.user_keys, uid, own, keys_left(pool)) ? 0
                                                                                       : -EDQUOT;
        if (r == 0) {
                struct account *account = account_join_locked(pool, uid);
                sum_add(&account->keys, 1);
                sum_add(&account->bytes, bytes);
                sum_add(&account->ranges, 1);
                atomic_fetch_add_explicit(&pool->keys_taken, 1, memory_order_relaxed);
        }
        spinlock_unlock(&pool->table_lock);
        return r;
}

void account_remove_key(struct pool *pool, uint32_t uid, uint64_t bytes) {
        spinlock_lock(&pool->table_lock);
        struct account *account = account_find_locked(pool, uid);
        sum_add(&account->keys, UINT64_MAX);
        sum_add(&account->bytes, -bytes);
        sum_add(&account->ranges, UINT64_MAX);
        account_leave_locked(pool, account);
        atomic_fetch_sub_explicit(&pool->keys_taken, 1, memory_order_relaxed);
        spinlock_unlock(&pool->table_lock);
}

void account_move_key(struct pool *pool, uint32_t uid, uint64_t from_bytes, uint64_t to_bytes) {
        spinlock_lock(&pool->table_lock);
        sum_add(&account_find_locked(pool, uid)->bytes, to_bytes - from_bytes);
        spinlock_unlock(&pool->table_lock);
}

/* ---- From outside ---- */

void pool_set_limits(struct pool *pool, const struct pool_limits *limits) {
        spinlock_lock(&pool->table_lock);
        limit_store(&pool->limits.client_bytes, limits->client_bytes);
        limit_store(&pool->limits.client_ranges, limits->client_ranges);
        limit_store(&pool->limits.user_bytes, limits->user_bytes);
        limit_store(&pool->limits.user_ranges, limits->user_ranges);
        limit_store(&pool->limits.user_clients, limits->user_clients);
        limit_store(&pool->limits.user_keys, limits->user_keys);
        limit_store(&pool->limits.user_holds, limits->user_holds);
        __atomic_store_n(&pool->limits.privileged_uid, limits->privileged_uid, __ATOMIC_RELAXED);
        spinlock_unlock(&pool->table_lock);
}

void pool_get_limits(struct pool *pool, struct pool_limits *out) {
        spinlock_lock(&pool->table_lock);
        *out = pool->limits;
        spinlock_unlock(&pool->table_lock);
}

static bool excess_find(struct pool_excess *out, enum pool_limit limit, uint64_t used,
        uint64_t more, uint64_t allowed) {
        if (!is_over(used, more, allowed))
                return false;
        out->limit = limit;
        out->used = used;
        out->allowed = allowed;
        return true;
}

static bool excess_of_share(struct pool *pool, struct pool_excess *out, enum pool_limit limit,
        const uint64_t *at, uint64_t used, uint64_t left) {
        if (limit_allows(pool, at, out->uid, used, left))
                return false;
        out->limit = limit;
        out->used = used;
        out->allowed = limit_allowed(at, used, left);
        return true;
}

static uint64_t holds_left(struct pool *pool) {
        spinlock_lock(&pool->table_lock);
        uint64_t left = holds_left_locked(pool);
        spinlock_unlock(&pool->table_lock);
        return left;
}

/* Of a gift from another uid. Needs the session. */
static bool excess_of_gift_locked(struct pool *pool, const struct holder *holder,
        const struct pool_want *want, struct pool_excess *out) {
        if (gift_find_excess_locked(pool, holder, want, out))
                return true;
        spinlock_lock(&pool->table_lock);
        bool found = gift_find_excess_of_holds_locked(pool, holder, want, out);
        spinlock_unlock(&pool->table_lock);
        return found;
}

static uint64_t bytes_left(struct pool *pool) {
        struct buddy_totals totals;
        buddy_totals(&pool->buddy, &totals);
        return totals.free_pages << pool->page_shift;
}

/* Needs the session. */
static bool excess_find_locked(struct pool *pool, const struct holder *holder,
        const struct pool_want *want, struct pool_excess *out) {
        const struct pool_limits *limits = &pool->limits;
        const struct account *account = holder->account;
        uint64_t bytes = sum_load(&account->bytes), allowed = limit_load(&limits->user_bytes);
        bool within = want->giver != 0 && pool->holders[want->giver].account == account;
        if (want->giver != 0 && !within)
                return excess_of_gift_locked(pool, holder, want, out);
        if (excess_find(out, POOL_LIMIT_CLIENT_BYTES, holder->held_bytes, want->bytes,
                    limit_load(&limits->client_bytes)) ||
                excess_find(out, POOL_LIMIT_CLIENT_RANGES, holder->held_ranges, want->ranges,
                        limit_load(&limits->client_ranges)))
                return true;
        if (within)
                return false;
        if (excess_find(out, POOL_LIMIT_USER_BYTES, bytes, want->bytes, allowed) ||
                excess_find(out, POOL_LIMIT_USER_RANGES, sum_load(&account->ranges), want->ranges,
                        limit_load(&limits->user_ranges)))
                return true;
        if (want->pressed && allowed == LIMIT_SHARE && !uid_is_privileged(pool, out->uid) &&
                excess_find(out, POOL_LIMIT_USER_BYTES, bytes, want->bytes,
                        (bytes + bytes_left(pool)) / 2))
                return true;
        if (want->keys && excess_of_share(pool, out, POOL_LIMIT_USER_KEYS, &limits->user_keys,
                                  sum_load(&account->keys), keys_left(pool)))
                return true;
        return want->holds && excess_of_share(pool, out, POOL_LIMIT_USER_HOLDS, &limits->user_holds,
                                      sum_load(&account->holds), holds_left(pool));
}

bool pool_find_excess(struct pool *pool, uint32_t session, const struct pool_want *want,
        struct pool_excess *out) {
        struct holder *holder = &pool->holders[session];
        bool found = false;
        spinlock_lock(&holder->lock);
        if (holder->account) {
                *out = (struct pool_excess){.session = session, .uid = holder->account->uid};
                found = excess_find_locked(pool, holder, want, out);
        }
        holder_unlock(holder);
        return found;
}

bool pool_find_excess_clients(struct pool *pool, uint32_t uid, struct pool_excess *out) {
        *out = (struct pool_excess){.uid = uid};
        spinlock_lock(&pool->table_lock);
        const struct account *account = account_find_locked(pool, uid);
        bool found = excess_of_share(pool, out, POOL_LIMIT_USER_CLIENTS, &pool->limits.user_clients,
                account ? sum_load(&account->clients) : 0,
                LEDGER_SESSIONS - 2 - pool->sessions_open);
        spinlock_unlock(&pool->table_lock);
        return found;
}

size_t pool_list_users(struct pool *pool, uint32_t *cursor, struct pool_user *out, size_t max) {
        size_t count = 0;
        spinlock_lock(&pool->table_lock);
        uint32_t slot = *cursor;
        for (; slot < pool->accounts_used && count < max; slot++) {
                const struct account *account = &pool->accounts[slot];
                if (account->refs == 0)
                        continue;
                out[count++] = (struct pool_user){
                        .uid = account->uid,
                        .privileged = uid_is_privileged(pool, account->uid),
                        .bytes = sum_load(&account->bytes),
                        .ranges = sum_load(&account->ranges),
                        .clients = sum_load(&account->clients),
                        .keys = sum_load(&account->keys),
                        .holds = sum_load(&account->holds),
                };
        }
        *cursor = slot < pool->accounts_used ? slot : 0;
        spinlock_unlock(&pool->table_lock);
        return count;
}
