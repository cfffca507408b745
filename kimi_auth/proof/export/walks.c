
/* What a walk is, and what the model forgets. Written for spin by hand, after world.py, state.py and numbering.py; everything
   above this line is generated. Slots of moves: a process without a walk begins one with event s / 2 (choice s % 2), or
   stores a new login (8); another one goes on (choice s below 10), its caller goes away (10), or it is killed (11). */

enum { UNSAVED = 4, HOLDS = 16, BEYOND_THE_LOCK = 32 | 64 | 128 | 8 | 512 | 1024 | 2048 | 4096 };
enum { ALIVE = 1, AWAITED = 4, GOOD = 2, SPENT = 0, EXPIRED = 2 };

static void idle(int me) {
  int host = now.p[me].host;
  memset(&now.p[me], 0, sizeof now.p[me]);
  now.p[me].host = host;
  now.p[me].bearer = now.p[me].record = now.p[me].pair = NOTHING;
}

static void release(int me, int marks) {
  if (!(marks & HOLDS) || !LOCK_WORKS) return;
  now.locks &= ~(SHARED_LOCK ? 2 : 1 << now.p[me].host);
}

static int position_of(int me) { return now.p[me].sub ? now.p[me].sub : now.p[me].at; }

/* --- forgetting ------------------------------------------------------------------------------------------------------ */

static void settle_pairs(void) {
  int i;
  for (i = 0; i <= PAIRS; i++) {
    int at = now.pair[i].login, alive = now.login[at].login & ALIVE;
    if (now.pair[i].late && (now.pair[i].good != GOOD || !alive || !ROTATES)) {
      if (alive && ENDS_ON_REUSE) now.login[at].login |= AWAITED;
      now.pair[i].late = 0;
    }
    if (!alive) now.pair[i].good = SPENT;
    if (now.pair[i].phase == EXPIRED) now.pair[i].rejected = 0;
    if (now.pair[i].revoked) {
      now.pair[i].sent = now.pair[i].denied = 1;
      now.pair[i].unrecognized = now.pair[i].late = 0;
      now.pair[i].good = SPENT;
      if (now.pair[i].staged == NOTHING) now.pair[i].owner = UNCLAIMED, now.pair[i].met = NOT_MET;
    }
  }
}

static int forget_read(void) {
  int i, mask = now.record < 8 ? 1 << now.record : 0;
  for (i = 0; i < PROCESSES; i++) {
    if (now.p[i].need != w_none && now.p[i].bearer != now.record) {
      now.p[i].bearer = NOTHING;
      if (now.p[i].need == w_not_bearer) now.p[i].need = w_none;
    }
    if (!now.p[i].sub && waits(now.p[i].at) && now.p[i].record != now.record && now.p[i].record != NOTHING)
      now.p[i].record = STALE;
    if (now.p[i].record < 8) mask |= 1 << now.p[i].record;
    if (now.p[i].pair < 8) mask |= 1 << now.p[i].pair;
  }
  return mask;
}

static int renumbered(int number, const int *to) { return number < 8 ? to[number] : number; }

static int compact_pairs(int mask) {
  int i, used = 0, to[8];
  for (i = 0; i <= PAIRS; i++)
    if (ORPHANS && now.pair[i].owner != UNCLAIMED) mask |= 1 << i;
  for (i = 0; i <= PAIRS; i++)
    if (mask >> i & 1 && now.pair[i].staged < 8) mask |= 1 << now.pair[i].staged;
  for (i = 0; i < 8; i++) to[i] = i <= PAIRS && mask >> i & 1 ? used++ : NOTHING;
  for (i = 0; i <= PAIRS; i++)
    if (to[i] != NOTHING) now.pair[to[i]] = now.pair[i];
  for (i = 0; i < used; i++) now.pair[i].staged = renumbered(now.pair[i].staged, to);
  now.record = renumbered(now.record, to);
  for (i = 0; i < PROCESSES; i++) {
    now.p[i].record = renumbered(now.p[i].record, to);
    now.p[i].pair = renumbered(now.p[i].pair, to);
    now.p[i].bearer = renumbered(now.p[i].bearer, to);
  }
  for (i = used; i <= PAIRS; i++) {
    memset(&now.pair[i], 0, sizeof now.pair[i]);
    now.pair[i].phase = EXPIRED;
    now.pair[i].owner = UNCLAIMED;
    now.pair[i].staged = NOTHING;
    now.pair[i].met = NOT_MET;
  }
  return used;
}

static void compact_logins(int used) {
  int i, free = 0, mask = 0, to[8];
  for (i = 0; i < used; i++) mask |= 1 << now.pair[i].login;
  for (i = 0; i <= LOGINS; i++) {
    to[i] = free;
    if (!(mask >> i & 1)) continue;
    now.login[free].login = now.login[i].login & (now.login[i].login & ALIVE ? 15 : 15 & ~AWAITED);
    free++;
  }
  for (i = 0; i < used; i++) now.pair[i].login = to[now.pair[i].login];
  for (i = free; i <= LOGINS; i++) now.login[i].login = 0;
}

/* Processes without names: only in one order. Hosts are told apart, as claims name them. */
static void sort_processes(void) {
  int i, j;
  for (i = PROCESSES - 1; i > 0; i--)
    for (j = 0; j < i; j++)
      if (memcmp(&now.p[j], &now.p[j + 1], sizeof now.p[j]) > 0) {
        struct Process other = now.p[j];
        now.p[j] = now.p[j + 1];
        now.p[j + 1] = other;
        if (story_told) printf("@swap %d\n", j);
      }
}

static void forget(void) {
  int i, used, holders = 0;
  settle_pairs();
  used = compact_pairs(forget_read());
  compact_logins(used);
  for (i = 0; i < PROCESSES; i++) holders += (now.p[i].marks & HOLDS) != 0;
  if (EXCLUDES && holders > 1) breaks(RULE_I9);
  if (used > PAIRS) broke = 99; /* the exported model is too small */
  sort_processes();
}

/* --- walks ------------------------------------------------------------------------------------------------------------ */

static void leave_the_lock(int me, int rest) {
  if (story_told) printf("@left %d %s\n", me, name_of(rest));
  if (!holds_true(rest, me)) breaks(RULE_I8);
  if (now.p[me].marks & UNSAVED) breaks(RULE_I2);
  f_leave(me, 0);
  if (f_left_open(me, 0)) breaks(RULE_LEFT_OPEN);
  release(me, now.p[me].marks);
  now.p[me].claim = w_none;
  now.p[me].pair = NOTHING;
  now.p[me].stage = 0;
  now.p[me].event = w_none;
  now.p[me].marks &= BEYOND_THE_LOCK;
}

/* The outcome leads on, through the rest of a child, to where another move begins. */
static void arrive(int me, int out, int began) {
  while (out != STAYS && out != CONTINUES) {
    int from = position_of(me), at = now.p[me].sub ? 0 : first_of(from), to;
    if (at && out == o_acquired) {
      now.p[me].sub = at;
    } else {
      to = after(from, out);
      if (!to) { breaks(RULE_UNDECLARED); idle(me); return; }
      if (now.p[me].sub && rests(to)) {
        leave_the_lock(me, to);
        now.p[me].sub = 0;
        to = after(now.p[me].at, rest_as_outcome(to));
      }
      if (now.p[me].sub) now.p[me].sub = to; else now.p[me].at = to;
    }
    at = position_of(me);
    if (story_told) printf("@to %d %s\n", me, name_of(at));
    if (rests(at)) {
      if (is_root(at)) {
        if (!holds_true(at, me)) breaks(RULE_I8);
        duties(at, me);
      }
      idle(me);
      return;
    }
    if (!is_at_once(at) && !(began && is_taking(at))) return;
    if (perform(at, me, -1) != 1) return;
    if (is_taking(at)) {
      struct Process kept = now.p[me];
      int locks = now.locks, broken = broke;
      out = perform(at, me, 0);
      if (out != o_acquired) { now.p[me] = kept; now.locks = locks; broke = broken; return; }
    } else {
      out = perform(at, me, 0);
    }
  }
}

static int begin_with(int me, int slot, int c) {
  int out = h_inspect(me, 0), rest = inspected(out);
  if (!rest || !rests(rest)) return 0;
  now.p[me].at = rest;
  return begin(rest, slot / 2, me, c);
}

static int can(int me, int slot) {
  int at = position_of(me), count;
  struct Process kept;
  const char *told = story_told;
  if (!at && slot == 8) return storing && f_logins(me, -1);
  if (!at) {
    if (slot > 8) return 0;
    kept = now.p[me];
    story_told = 0;
    count = begin_with(me, slot, -1);
    story_told = told;
    now.p[me] = kept;
    return count > slot % 2;
  }
  if (slot == 11) return DIES;
  if (slot == 10) return cancel(at, me, -1) > 0;
  return perform(at, me, -1) > slot;
}

static void move(int me, int slot) {
  int at = position_of(me), marks = now.p[me].marks, out;
  broke = 0;
  if (!rule_wanted) rule_wanted = getenv("KIMI_AUTH_RULE");
  if (!story_told) story_told = getenv("KIMI_AUTH_STORY");
  if (story_told) printf("@move %d %s\n", me, name_of(at));
  if (!at && slot == 8) {
    f_logins(me, 0);
    now.p[me].at = storing;
  } else if (!at) {
    out = begin_with(me, slot, slot % 2);
    if (!holds_true(now.p[me].at, me)) breaks(RULE_I8);
    arrive(me, out, 1);
  } else if (slot == 11) {
    f_killed(me, 0);
    release(me, marks);
    idle(me);
    says(me, "is killed");
  } else if (slot == 10) {
    cancel(at, me, 0);
    release(me, marks);
  } else {
    if (is_guarded(at) && !(marks & HOLDS)) breaks(RULE_LOCK);
    if (marks & UNSAVED && !is_stage(at)) breaks(RULE_I2);
    arrive(me, perform(at, me, slot), 0);
  }
  forget();
}

static int can_around(int slot) { return around(slot / 2, -1) > slot % 2; }

static void move_around(int slot) {
  broke = 0;
  if (!story_told) story_told = getenv("KIMI_AUTH_STORY");
  if (story_told) printf("@around\n");
  around(slot / 2, slot % 2);
  forget();
}
