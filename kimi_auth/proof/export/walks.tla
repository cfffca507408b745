
(* What a walk is, and what the model forgets. Written for TLC by hand, after world.py, state.py and numbering.py; everything
   above this line is generated. Processes keep their numbers; the view counts equal ones instead, so that two states that
   differ only in the names of the processes are one. Hosts are told apart, as claims name them. *)

ALIVE == 0
AWAITED == 2
SPENT == 0
GOOD == 2
EXPIRED == 2
TOO_SMALL == "the exported model is too small"

Processes == 0..(N - 1)
Idle(process) == [BEGINNING.p[0] EXCEPT !.host = process.host]
Released(s, host) == IF LOCK_WORKS THEN [s EXCEPT !.locks = @ \ {host}] ELSE s
Position(process) == IF process.sub # "" THEN process.sub ELSE process.at
After(position, out) == IF out \in DOMAIN EDGES[position] THEN EDGES[position][out] ELSE ""

(* --- forgetting ----------------------------------------------------------------------------------------------------- *)

Ends(s, q) == q.late > 0 /\ (q.good # GOOD \/ ALIVE \notin s.login[q.login] \/ ~ROTATES)

SettledPair(s, q) ==
  LET alive == ALIVE \in s.login[q.login]
      a == [q EXCEPT !.late = IF Ends(s, q) THEN 0 ELSE @,
                     !.good = IF alive THEN @ ELSE SPENT,
                     !.rejected = IF q.phase = EXPIRED THEN 0 ELSE @]
      b == [a EXCEPT !.sent = 1, !.denied = 1, !.unrecognized = 0, !.late = 0, !.good = SPENT]
  IN IF q.revoked = 0 THEN a
     ELSE IF q.staged = NOTHING THEN [b EXCEPT !.owner = UNCLAIMED, !.met = <<>>] ELSE b

Settled(s) ==
  LET ended == {s.pair[i].login : i \in {j \in 0..PAIRS : Ends(s, s.pair[j])}}
      awaited(l) == l \in ended /\ ENDS_ON_REUSE /\ ALIVE \in s.login[l]
  IN [s EXCEPT !.pair = [i \in 0..PAIRS |-> SettledPair(s, s.pair[i])],
               !.login = [l \in 0..LOGINS |-> IF awaited(l) THEN s.login[l] \union {AWAITED} ELSE s.login[l]]]

Unread(s, process) ==
  LET lost == process.need # "" /\ process.bearer # s.record
      p == IF lost THEN [process EXCEPT !.bearer = NOTHING, !.need = IF @ = "not_bearer" THEN "" ELSE @] ELSE process
      stale == p.sub = "" /\ p.at \in WAITS /\ p.record # s.record /\ p.record # NOTHING
  IN IF stale THEN [p EXCEPT !.record = STALE] ELSE p

RECURSIVE WithStaged(_, _, _)
WithStaged(s, kept, i) ==
  IF i > PAIRS THEN kept
  ELSE WithStaged(s, IF i \in kept /\ s.pair[i].staged >= 0 THEN kept \union {s.pair[i].staged} ELSE kept, i + 1)

Compacted(s) ==
  LET held == {s.p[i].record : i \in Processes} \union {s.p[i].pair : i \in Processes} \union {s.record}
      orphans == {i \in 0..PAIRS : ORPHANS /\ s.pair[i].owner # UNCLAIMED}
      kept == WithStaged(s, {i \in held : i >= 0} \union orphans, 0)
      to(i) == IF i < 0 THEN i ELSE IF i \in kept THEN Cardinality({j \in kept : j < i}) ELSE NOTHING
      used == Cardinality(kept)
      from(j) == CHOOSE i \in kept : to(i) = j
      pairs == [j \in 0..PAIRS |-> IF j < used THEN [s.pair[from(j)] EXCEPT !.staged = to(@)] ELSE UNUSED_PAIR]
      alive == {pairs[j].login : j \in 0..(used - 1)}
      login(l) == Cardinality({m \in alive : m < l})
      first(f) == CHOOSE l \in alive : login(l) = f
      bits(l) == IF ALIVE \in s.login[l] THEN s.login[l] ELSE s.login[l] \ {AWAITED}
  IN [s EXCEPT
       !.record = to(@),
       !.pair = [j \in 0..PAIRS |-> IF j < used THEN [pairs[j] EXCEPT !.login = login(@)] ELSE pairs[j]],
       !.login = [f \in 0..LOGINS |-> IF f < Cardinality(alive) THEN bits(first(f)) ELSE {}],
       !.p = [i \in Processes |-> [s.p[i] EXCEPT !.record = to(@), !.pair = to(@), !.bearer = to(@)]]]

Forgotten(before) ==
  LET settled == Settled(before)
  IN Compacted([settled EXCEPT !.p = [i \in Processes |-> Unread(settled, settled.p[i])]])

(* What a state itself breaks. *)
Wrong(s) ==
  (IF EXCLUDES /\ Cardinality({i \in Processes : HOLDS \in s.p[i].marks}) > 1 THEN {"I9"} ELSE {})
  \union (IF s.pair[PAIRS] # UNUSED_PAIR THEN {TOO_SMALL} ELSE {})

(* --- walks ----------------------------------------------------------------------------------------------------------- *)

Made(s, rules, words) == [s |-> s, broken |-> rules, said |-> words]
Left(s, me) == f_leave(s, me)[1].s

(* The walk of `me` leaves the lock, in the rest state `rest` of a child. *)
LeftTheLock(r, me, rest) ==
  LET s == Left(r.s, me)
      p == s.p[me]
      free == IF HOLDS \in p.marks THEN Released(s, p.host) ELSE s
      outside == [p EXCEPT !.claim = "", !.pair = NOTHING, !.stage = 0, !.event = "", !.sub = "",
                           !.marks = @ \intersect BEYOND_THE_LOCK]
  IN Made([free EXCEPT !.p[me] = outside],
          r.broken \union Lies(r.s, me, rest) \union f_left_open(s, me)
            \union (IF UNSAVED \in r.s.p[me].marks THEN {"I2"} ELSE {}),
          Append(r.said, rest))

(* The outcome leads on, through the rest of a child, to where another move begins. *)
RECURSIVE Arrived(_, _, _, _)

Rested(r, me, at) ==
  Made([r.s EXCEPT !.p[me] = Idle(@)],
       r.broken \union (IF at \in ROOT_RESTS THEN Lies(r.s, me, at) \union Owed(r.s, me, at) ELSE {}),
       r.said)

Landed(found, me, began) ==
  LET at == Position(found.s.p[me])
      r == [found EXCEPT !.said = Append(@, at)]
      moves == Performed(r.s, me, at)
      m == moves[1]
  IN IF at \in RESTS THEN Rested(r, me, at)
     ELSE IF ~(at \in AT_ONCE \/ (began /\ at \in TAKING)) THEN r
     ELSE IF Len(moves) # 1 THEN r
     ELSE IF at \in TAKING /\ m.out # "acquired" THEN r
     ELSE Arrived(Made(m.s, r.broken \union m.broken, r.said \o <<m.out>>), me, m.out, began)

Arrived(r, me, out, began) ==
  LET p == r.s.p[me]
      from == Position(p)
      enters == p.sub = "" /\ FIRST[from] # "" /\ out = "acquired"
      to == After(from, out)
      leaves == p.sub # "" /\ to \in RESTS
      left == LeftTheLock(r, me, to)
      next == After(p.at, REST[to])
      stop == Made([r.s EXCEPT !.p[me] = Idle(@)], r.broken \union {"undeclared outcome"}, r.said)
  IN IF out = "" THEN r
     ELSE IF enters THEN Landed([r EXCEPT !.s.p[me].sub = FIRST[from]], me, began)
     ELSE IF to = "" THEN stop
     ELSE IF leaves THEN IF next = "" THEN stop ELSE Landed([left EXCEPT !.s.p[me].at = next], me, began)
     ELSE IF p.sub # "" THEN Landed([r EXCEPT !.s.p[me].sub = to], me, began)
     ELSE Landed([r EXCEPT !.s.p[me].at = to], me, began)

(* --- moves ----------------------------------------------------------------------------------------------------------- *)

Elements(sequence) == {sequence[i] : i \in DOMAIN sequence}

Beginnings(s, me) ==
  LET found == h_inspect(s, me)[1]
      rest == After(INSPECTING, found.out)
      ready == [found.s EXCEPT !.p[me].at = rest]
      begun(event) == Elements(Begun(ready, me, rest, event))
      walk(m) == Arrived(Made(m.s, m.broken \union Lies(m.s, me, rest), <<rest, m.out>>), me, m.out, TRUE)
      approved == [m \in {1} |-> [f_logins(s, me)[1].s EXCEPT !.p[me].at = STORING]][1]
  IN (IF rest \in RESTS THEN {walk(m) : m \in UNION {begun(event) : event \in EVENTS}} ELSE {})
     \union (IF STORING # "" /\ f_logins(s, me) # <<>> THEN {Made(approved, {}, <<"a new login was approved">>)} ELSE {})

Walking(s, me) ==
  LET p == s.p[me]
      at == Position(p)
      free(after) == IF HOLDS \in p.marks THEN Released(after, p.host) ELSE after
      undisciplined ==
        (IF at \in GUARDED /\ HOLDS \notin p.marks THEN {"lock discipline"} ELSE {})
        \union (IF UNSAVED \in p.marks /\ ACTIVITY[at] # "stage" THEN {"I2"} ELSE {})
      on(m) == Arrived(Made(m.s, undisciplined \union m.broken, <<at, m.out, m.note>>), me, m.out, FALSE)
      dead == LET k == free(f_killed(s, me)[1].s) IN [k EXCEPT !.p[me] = Idle(@)]
      torn(m) == Made(free(m.s), m.broken, <<at, "its caller goes away">>)
  IN {on(m) : m \in Elements(Performed(s, me, at))}
     \union {torn(m) : m \in Elements(Cancelled(s, me, at))}
     \union (IF DIES THEN {Made(dead, {}, <<at, "is killed">>)} ELSE {})

Numbered(moves, me) == {[m EXCEPT !.said = <<me>> \o @] : m \in moves}
Moves(s) ==
  UNION {Numbered(IF s.p[me].at = "" THEN Beginnings(s, me) ELSE Walking(s, me), me) : me \in Processes}
  \union {Made(m.s, {}, <<m.note>>) : m \in Elements(Around(s))}

Init == state = Forgotten(BEGINNING) /\ broke = {} /\ said = <<>>
Next ==
  \E m \in Moves(state) :
    LET after == Forgotten(m.s) IN
    /\ state' = after
    /\ broke' = (m.broken \union Wrong(after)) \intersect (Wanted \union {TOO_SMALL})
    /\ said' = m.said

Holds == broke = {}
Equal(me) == Cardinality({other \in Processes : state.p[other] = state.p[me]})
View == <<[state EXCEPT !.p = {<<state.p[me], Equal(me)>> : me \in Processes}], broke>>
