/* The charging protocol as a SPIN model: one subscription, one billing period, every interleaving.

   Run all configurations with Tests/Model/check. One by hand, in a scratch folder (spin, gcc and pan
   leave files behind):
       spin -a -DENDS charge.pml && gcc -O2 -DSAFETY -DCOLLAPSE -DNOFAIR -o pan pan.c && ./pan -m1000000
       after an error:   spin -t -DENDS charge.pml          tells the story of the counterexample
       liveness:         spin -a -DLIVE=2 … && gcc -O2 -DCOLLAPSE … && ./pan -m1000000 -a -f -N settles

   PROCESSES
     worker(1..NW)  one claim from beginning to end, as Charger and Recorder take it there: claim, look
                    up the earlier names, send, confirm, record; or claim, resolve, record; or claim,
                    seal, record. A daemon with many tasks is many of these. A crash at any step is
                    `forget`: what the process knew is gone, what it wrote stays.
     environment    the network with its late copies, the provider's memory, time, and the customer.

   WHERE IT IS BUILT  the claim: Step.decide, ClaimSQL · before, send: Charger · answered, confirm, resolve, seal: the
   rules of Work (Rules.swift) · apply: RecordSQL.apply, with its verdicts · INVARIANT 5 and 6 and the two gaps also:
   the triggers of schema.sql.

   VARIABLES and the words of the protocol
     charge              state of the charge: open, paid, failed (closed unpaid), held (for a person)
     cur, st[n]          number of the last attempt; state of attempt n: none, open, approved, declined,
                         refused. Order id and idempotency key are a function of n: n is the *name*.
     pin[n]              what attempt n pinned when it was opened, as far as it decides which memory of
                         the provider a send falls into: the billing key (CARDSWAP), the secret key (ROTATE)
     doubt, gone, seen   of the open attempt: columns in_doubt, absent, not_founds >= 1
     ever_unknown        of the last attempt: something but the answer to its only send under its only
                         claim is known of it, so the gap is due before the next name
     owner, leased       lease: whose number is the current one; whether it is unreleased (lease_until is
                         not null). A lease may end at any moment: any worker may claim at any moment,
                         and the old owner goes on as a zombie.
     a, j, rep, news     of a worker: attempt in hand, name being looked up, "is a repeat" (of a look-up: the name may
                         not be sent again, found or not), what it will record
     age                 of the open attempt: 0 may be sent, 1 only looked up (13 days), 2 held (14 days)
     over                the charge is to end: cancelled, or the next period is due (superseded)
     charges             how often the provider took money for this period: the books
     key[n], ord[n]      the provider: answer remembered under the idempotency key; payment under the order id
     late[n], inhand     copies of a request still under way; workers that hold a name they have not sent yet
     lag[n]              look-ups do not show this payment yet

   TIME is not counted. A wait that ends "not before" is a condition on what may still happen meanwhile:
     QUIET     the gap is over only when nothing of the ended names can act any more: no copy is on its way
               (A4: nothing acts later than the late bound), no worker still holds an unsent one (the send
               window, checked before the send, is shorter than the gap), look-ups tell the truth (A5).
     The quiet time before a not-found counts is free: it may be over or not at every look-up. Backoff, dunning
     and `retry_now`: a row that waits for nothing but these is due at once, which allows every delay.

   INVARIANTS (numbers of the fault model)
     I1  never two executed charges
     I2  a charge closed unpaid is never charged, neither before nor after
     I3  paid implies that the provider charged that very name
     I4  an approval that a worker brought and that was recorded leaves the charge paid or held; and, with a provider
         that keeps its word, no attempt that it approved is written off as declined or refused
     I5  an ended attempt never changes
     I6  an attempt is opened only on an open charge, and only after the last one ended: at most one is open
     No state is without a way on, but for a closed or held charge (SPIN's invalid end states).
     Liveness, with at most LIVE faults: `settles`, every charge is paid, failed or held; `recorded`, taken money is
     recorded; `rests`, then nobody claims the row any more; `waits` (with WAITS), no row is claimed again and again
     without a wait.

   FAULTS, always on: the request is lost before it leaves (proven or not), arrives late (when its worker
     has long given up), arrives twice; the answer is lost; look-ups fail; the worker crashes at every step; the
     lease ends at any moment; the claim commits unacknowledged (never acted on: equal to a crash after it) or aborts
     (nothing happens); the record is lost (the worker still holds it), or commits unacknowledged and is repeated;
     unsent claims are given back at any moment.
   FAULTS BY SWITCH
     ENDS      cancelled or superseded at any moment, before, while and after an attempt is open
     CARDSWAP  another card becomes the one to charge, at any moment
     ROTATE    the shop's secret key is changed, at any moment; a look-up works with either
     REFUSE    the provider turns a request away before it looks at it (too many requests, maintenance): not executed,
               not remembered; or refuses our data (the charge is held)
     LAG       look-ups do not show a payment at first
     ORDERUNIQ an order id that was approved or declined is answered DUPLICATED_ORDER_ID and not executed again
     STORES    the provider keeps an error under the key, before or after it took the money, and tells it to every
               later request of the name in a way that shows that it was told before (`kept`)
     EXPIRE    the provider forgets its answer to a key when the attempt is old
     NOCACHE   the provider does not remember declines: a late copy may then be approved (A2 false)
     LOSE      the database forgets everything once (a standby without the last commits, a backup); nobody claims
               until someone vouches for it, which waits for QUIET
     REUSE     with LOSE: the number of an old worker's claim is given out again
     NOCOPIES  takes a fault away: no request arrives twice (it may still arrive late)
   SIZES  NW workers (2) · ATT attempts (2; the last decline is the end of dunning) · LATE copies of one name
     under way at a time (2) · LIVE=n: liveness, at most n faults · WAITS: a record says whether the row is due at
     once or after a wait

   THE PROTOCOL WEAKENED (each of these must break something; Tests/Model/check says what)
     NEWNAME, TIMEOUTDECLINED, KEYPERTRY, RANDOMNAMES (with LOSE), UNPINNED, NOPRINT (fingerprint of the secret key is
     not compared), NOFENCE, NOREREAD (state not read again under the lock), NOAGE, NOGAP, NOEARLIER (no look-ups
     of earlier names), FIRSTONLY (only before the first send of a name), UNRECORDED (the gap is due only after an
     unknown that some worker lived to record), NODEADLINE (no send window), NOSEALGAP, NOSEALLOOK, REPEATREFUSED (a
     refusal that answers a repeat ends the attempt), DUPLICATEDECLINED, FENCEALL (lease number demanded of approvals),
     DROPCONTRADICTION, CANCELBLIND (cancel ignores an open attempt), UNACKED (a claim is acted on although it aborted),
     HELDBLIND (a held charge that the customer touches is claimed again), NORESCUE (a lapsed lease is never claimed),
     NORESEND (never send again), KEPTNEVER (a kept error never ends a name), KEPTBLIND (it does without a look-up),
     ANYERROR (so does an error that was not kept), AGEDATONCE (absent means "due at once" also when the name may not be sent any more)
   ASSUMPTIONS TAKEN AWAY  TOOLATE (A4: a copy acts after the gap), NOTRUTH (A5: look-ups lag beyond the gap)
   AFTER A LOSS  LOOKOWN: a name that looks new is itself looked up before it is sent, after all earlier ones;
     LOOKALL: so is every name that the charge may ever have had, before a send and before an end
   MADE STRONGER  REFUSALGAP (the gap is due after every refusal), RESTALL (and after every decline)
   NOT NEEDED FOR SAFETY, shown by configurations that stay safe: ONENOTFOUND (one not-found suffices before the same
     name is sent again), NOCONFIRM (the decline of a repeat is not confirmed by a look-up); and, while the provider
     keeps its word, NOGAP, NOEARLIER, TOOLATE and NODEADLINE together: that guard is for a provider that does not

   ABSTRACTED AWAY  other subscriptions, batches, amounts and currencies (an answer of another request); later
     periods; pause and resume (a delay here); refunds; hard and soft declines and the length of dunning (any delay,
     any card); the claims counter that holds a poisonous row; a fault of all (a `refused` here); what a person does
     to a held charge; PostgreSQL itself: claim and record are atomic here, and the conformance tests show that. */

#ifndef NW
#define NW 2
#endif
#ifndef ATT
#define ATT 2
#endif
#ifndef LATE
#define LATE 2
#endif

/* ONLY=n watches one invariant; REACH=n asks whether something happens at all (the search must then fail). */
#ifdef ONLY
#define INVARIANT(n, holds) assert((ONLY != n) || (holds))
#else
#define INVARIANT(n, holds) assert((n == 0) || (holds))
#endif
#ifdef REACH
#define WITNESS(n, happens) assert((REACH != n) || !(happens))
#else
#define WITNESS(n, happens) skip
#endif

#ifdef LIVE
byte faults = 0;
#define FAULT(possible) ((possible) && faults < LIVE) -> faults++
#else
#define FAULT(possible) (possible)
#endif

mtype = { none, open, approved, declined, refused, paid, failed, held,
          unknown, notsent, duplicate, kept, wrongdata, nothing, absent, unclear, earlier, released };

/* The database ------------------------------------------------------------------------------- */

mtype charge = open;
byte cur = 0;
mtype st[ATT + 1] = none;
bit doubt, gone, seen, ever_unknown;
byte owner = 0;
bit leased = 0;

#if defined(CARDSWAP) || defined(ROTATE)
#define SCOPES
bit pin[ATT + 1];
bit current = 0;                    /* the card, or the secret key, of today */
#define PINNED(n) pin[n]
#define KEY(n, scope) (2 * (n) + (scope))
#define KEYS (2 * ATT + 2)
#else
#define PINNED(n) 0
#define KEY(n, scope) (n)
#define KEYS (ATT + 1)
#endif

#ifdef ENDS
bit over = 0;
#define OVER over
#else
#define OVER false
#endif

#ifdef EXPIRE
byte age = 0;
#define OLD (age > 0)
#define AGED (age == 2)
#else
#define OLD false
#define AGED false
#endif

/* The provider and the network ---------------------------------------------------------------- */

byte charges = 0;
mtype key[KEYS] = none;
mtype ord[ATT + 1] = none;
byte late[KEYS];
byte underway = 0;                  /* sum of late */
byte inhand = 0;
#ifdef LAG
bit lag[ATT + 1];
byte lagging = 0;                   /* sum of lag */
#define LAGS(n) lag[n]
#else
#define LAGS(n) false
#endif

#ifdef KEYPERTRY
#define REMEMBERED(k) (charges > 2)   /* never */
#else
#define REMEMBERED(k) (key[k] != none)
#endif

#if defined(COPIES) || !defined(NOCOPIES)
#define DOUBLED
#endif
#if !defined(NOCACHE) && !(defined(REFUSE) && defined(DOUBLED)) && !defined(LOSE) && \
    !(defined(STORES) && defined(LAG))
/* What the provider answers stays true. */
#define KEEPS_ITS_WORD
#endif

/* One request of name n reaches the provider. */
inline execute(n, scope, answer) {
  if
#ifdef REFUSE
  :: FAULT(true); answer = refused
#endif
#ifdef STORES
  :: FAULT(!REMEMBERED(KEY(n, scope)) && ord[n] != approved);
     key[KEY(n, scope)] = unknown; answer = unknown;
     if
     :: printf("provider: keeps an error for name %d\n", n)
     :: charges = (charges < 2 -> charges + 1 : 2); ord[n] = approved;
#ifdef LAG
        lagging = lagging + 1 - lag[n]; lag[n] = 1;
#endif
        printf("provider: takes the money under name %d and keeps an error for it\n", n);
        INVARIANT(1, charges <= 1);
        INVARIANT(2, charge != failed)
     fi
#endif
  :: REMEMBERED(KEY(n, scope)) -> answer = (key[KEY(n, scope)] == unknown -> kept : key[KEY(n, scope)])
#ifdef ORDERUNIQ
  :: ord[n] != none -> answer = duplicate
  :: !REMEMBERED(KEY(n, scope)) && ord[n] != approved ->
#else
  :: !REMEMBERED(KEY(n, scope)) ->
#endif
     if
     :: charges = (charges < 2 -> charges + 1 : 2);
        ord[n] = approved; key[KEY(n, scope)] = approved; answer = approved;
#ifdef LAG
        lagging = lagging + 1 - lag[n]; lag[n] = 1;
#endif
        printf("provider: takes the money under name %d\n", n);
        INVARIANT(1, charges <= 1);
        INVARIANT(2, charge != failed)
     :: ord[n] = (ord[n] == none -> declined : ord[n]);
#ifndef NOCACHE
        key[KEY(n, scope)] = declined;
#endif
        answer = declined;
        printf("provider: declines name %d\n", n)
     fi
  fi
}

/* What a look-up of name n may answer. A decline shows as an aborted payment, or not at all. */
#define FOUND(n) (ord[n] == approved)
#define ABORTED(n) (ord[n] == declined)
#ifdef LIVE
#define NOTFOUND(n) (ord[n] != approved)
#else
#define NOTFOUND(n) (ord[n] != approved || LAGS(n))
#endif

/* Time ---------------------------------------------------------------------------------------- */

#ifdef NODEADLINE
#define NONE_IN_HAND true
#else
#define NONE_IN_HAND (inhand == 0)
#endif
#ifdef TOOLATE
#define NONE_UNDER_WAY true
#else
#define NONE_UNDER_WAY (underway == 0)
#endif
#if defined(LAG) && !defined(NOTRUTH)
#define TRUTH (lagging == 0)
#else
#define TRUTH true
#endif
#define QUIET (NONE_UNDER_WAY && NONE_IN_HAND && TRUTH)

/* What a row calls for (Step.decide) ----------------------------------------------------------- */

#ifdef NOGAP
#define GAP_OVER true
#else
#define GAP_OVER QUIET
#endif
#ifdef NOSEALGAP
#define SEAL_GAP_OVER true
#else
#define SEAL_GAP_OVER QUIET
#endif

#if defined(RESTALL)
#define AT_ONCE false
#elif defined(REFUSALGAP)
#define AT_ONCE (!ever_unknown && st[cur] != refused)
#else
#define AT_ONCE (!ever_unknown)
#endif

#define FRESH (cur == 0)
#define OPEN (cur > 0 && st[cur] == open)
#define ENDED (cur > 0 && (st[cur] == declined || st[cur] == refused))
#define FINISHED (OVER || (st[cur] == declined && cur == ATT))
#define SEALABLE (ENDED && FINISHED && SEAL_GAP_OVER)
#define ANOTHER (ENDED && !FINISHED && cur < ATT && (AT_ONCE || GAP_OVER))
#define TOO_MANY (ENDED && !FINISHED && cur == ATT)

#ifdef NOAGE
#define TOO_OLD false
#else
#define TOO_OLD OLD
#endif
#if defined(ROTATE) && !defined(NOPRINT)
#define OTHER_KEY (pin[cur] != current)
#else
#define OTHER_KEY false
#endif
#define NEVER_AGAIN (TOO_OLD || OTHER_KEY)
#ifdef NORESEND
#define MAY_LEAVE (!doubt && !NEVER_AGAIN)
#else
#define MAY_LEAVE ((!doubt || gone) && !NEVER_AGAIN)
#endif

#ifdef CANCELBLIND
#define CANCELLED_BLINDLY OVER
#else
#define CANCELLED_BLINDLY false
#endif
#ifdef HELDBLIND
#define OF_THE_WORKER (charge == open || (charge == held && ENDED))
#else
#define OF_THE_WORKER (charge == open)
#endif
/* REUSE: `ghost` is a worker whose old claim has a number that a later claim gets again (`twin`). */
#ifdef REUSE
byte ghost = 0, twin = 0;
#endif
#ifdef LOSE
bit lost = 0, vouched = 0;
#define OUR_DATABASE (!lost || vouched)
#else
#define OUR_DATABASE true
#endif
#ifdef LIVE
bit dead = 0;                       /* the worker that holds the lease crashed */
#define LEASE_FREE (!leased || faults < LIVE)
#else
#define LEASE_FREE true
#endif
/* WAITS: a record says when the row is due again, at once or after a while; time is what sets `due`. */
#ifdef WAITS
bit due = 1;
#define ITS_TIME due
#define WAIT due = 0
#else
#define ITS_TIME true
#define WAIT skip
#endif
#define DUE (OF_THE_WORKER && OUR_DATABASE && LEASE_FREE && ITS_TIME \
             && (FRESH || OPEN || SEALABLE || ANOTHER || TOO_MANY || CANCELLED_BLINDLY))

/* Which names are looked up before a send of a, and before the end. */
#if defined(LOOKALL)
#define LAST_BEFORE (lost -> ATT : a - 1)
#define LAST_OF_SEAL (lost -> ATT : cur)
#elif defined(LOOKOWN)
#define LAST_BEFORE (lost -> a : a - 1)
#define LAST_OF_SEAL cur
#else
#define LAST_BEFORE (a - 1)
#define LAST_OF_SEAL cur
#endif
#if defined(NOEARLIER)
#define TO_LOOK_UP false
#elif defined(FIRSTONLY)
#define TO_LOOK_UP (!rep && j <= LAST_BEFORE)
#else
#define TO_LOOK_UP (j <= LAST_BEFORE)
#endif
#ifdef NOSEALLOOK
#define TO_SEAL false
#else
#define TO_SEAL (j <= LAST_OF_SEAL)
#endif

/* In which memory of the provider a send falls. */
#if defined(UNACKED)
#define SCOPE (aborted * today + (1 - aborted) * PINNED(a))
#elif (defined(UNPINNED) || defined(NOPRINT)) && defined(SCOPES)
#define SCOPE current
#else
#define SCOPE PINNED(a)
#endif

/* The environment ------------------------------------------------------------------------------ */

#define ARRIVES(n, scope) \
  :: atomic { late[KEY(n, scope)] > 0 -> late[KEY(n, scope)]--; underway--; \
       printf("network: a late copy of name %d arrives\n", n); execute(n, scope, drop); drop = none }
#ifdef SCOPES
#define COPIES_ARRIVE(n) ARRIVES(n, 0) ARRIVES(n, 1)
#else
#define COPIES_ARRIVE(n) ARRIVES(n, 0)
#endif
#define SHOWS(n) :: atomic { lag[n] -> lag[n] = 0; lagging-- }

active proctype environment() {
  mtype drop = none;
end_environment:
  do
  COPIES_ARRIVE(1)
#if ATT > 1
  COPIES_ARRIVE(2)
#endif
#if ATT > 2
  COPIES_ARRIVE(3)
#endif
#ifdef LAG
  SHOWS(1)
#if ATT > 1
  SHOWS(2)
#endif
#if ATT > 2
  SHOWS(3)
#endif
#endif
#ifdef SCOPES
  :: atomic { current == 0 -> current = 1; printf("customer or operator: another key\n") }
#endif
#ifdef ENDS
  :: atomic { FAULT(!over && OF_THE_WORKER); over = 1; printf("customer: cancels\n") }
#endif
#ifdef EXPIRE
  :: atomic { OPEN && age < 2 -> age++; printf("time: attempt %d is %d (of 2) old\n", cur, age) }
     /* 13 days and the late bound come before the provider's 15 days. */
  :: atomic { OLD && underway == 0 && NONE_IN_HAND && key[KEY(cur, PINNED(cur))] != none ->
       key[KEY(cur, PINNED(cur))] = none; printf("provider: forgets the key of name %d\n", cur) }
#endif
#ifdef LOSE
  :: atomic { !lost -> lost = 1; charge = open; cur = 0; owner = 0; leased = 0;
       doubt = 0; gone = 0; seen = 0; ever_unknown = 0; st[1] = none;
#if ATT > 1
       st[2] = none;
#endif
#if ATT > 2
       st[3] = none;
#endif
#ifdef RANDOMNAMES
       ord[1] = none; key[1] = none;
#if ATT > 1
       ord[2] = none; key[2] = none;
#endif
#endif
#ifdef REUSE
       if :: ghost = 1 :: ghost = 2 fi;
#endif
       printf("database: everything is forgotten\n") }
  :: atomic { lost && !vouched && QUIET -> vouched = 1; printf("operator: vouches for it\n") }
#endif
#ifdef WAITS
  :: atomic { !due && OF_THE_WORKER -> due = 1 }
#endif
#if defined(LIVE) && !defined(NORESCUE)
  :: atomic { dead && leased -> leased = 0; dead = 0 }
#endif
  od
}

/* A worker -------------------------------------------------------------------------------------- */

#ifdef REUSE
#define OURS ((owner == me || twin == me) && leased)
#else
#define OURS (owner == me && leased)
#endif
#ifdef NOFENCE
#define OPINION_COUNTS true
#else
#define OPINION_COUNTS OURS
#endif
#ifdef FENCEALL
#define FACT_COUNTS OURS
#else
#define FACT_COUNTS true
#endif
#ifdef NOREREAD
#define STILL_OPEN true
#else
#define STILL_OPEN (st[a] == open)
#endif
#ifdef UNRECORDED
#define NOT_ONLY_CLAIM skip
#else
#define NOT_ONLY_CLAIM ever_unknown = 1
#endif

/* Of a repeat only an approval speaks for the whole name. */
#ifdef NOCONFIRM
#define TO_CONFIRM (news == duplicate || news == kept)
#else
#define TO_CONFIRM (news == duplicate || (rep && news == declined) || news == kept)
#endif
#ifdef REPEATREFUSED
#define TO_DOUBT (rep && news == notsent)
#else
#define TO_DOUBT (rep && (news == notsent || news == refused))
#endif

inline openAttempt() {
  INVARIANT(6, charge == open && (cur == 0 || st[cur] == declined || st[cur] == refused));
  WITNESS(1, cur == 1 && ever_unknown);
  WITNESS(2, cur == 1 && !ever_unknown);
  cur++; a = cur; st[a] = open; rep = 0; doubt = 1; gone = 0; seen = 0; ever_unknown = 0;
#ifdef SCOPES
  pin[a] = current;
#endif
#ifdef EXPIRE
  age = 0;
#endif
  inhand++; j = 1;
  printf("worker %d: opens attempt %d\n", me, a)
}

inline end(n, how) {
  INVARIANT(5, st[n] == open);
  st[n] = how; doubt = 0; gone = 0; seen = 0
}

/* RecordSQL.apply: the verdict is made under the row lock. A repeat finds its lease released, or the
   attempt ended, and changes nothing. */
inline apply() {
  printf("worker %d: records %e of attempt %d\n", me, news, a);
  if
  :: news == approved ->
     if
     :: !(FACT_COUNTS) -> skip
     :: FACT_COUNTS && st[a] == none -> skip          /* the row is lost: rejected */
     :: FACT_COUNTS && st[a] == approved -> skip
     :: FACT_COUNTS && st[a] == open && (charge == open || charge == held) ->
        WITNESS(3, !(OURS));
        WITNESS(4, rep);
        end(a, approved); charge = paid; WAIT;
        INVARIANT(3, ord[a] == approved)
     :: FACT_COUNTS && (st[a] == declined || st[a] == refused
                        || (st[a] == open && charge != open && charge != held)) ->
        WITNESS(5, true);
#ifndef DROPCONTRADICTION
        charge = held; WAIT
#endif
     fi;
     INVARIANT(4, charge == paid || charge == held || st[a] == none)
  :: news == earlier && OPINION_COUNTS && charge == open ->
     WITNESS(6, true);
     if :: OPEN -> end(cur, refused) :: else fi;
     charge = paid; WAIT;
     INVARIANT(3, ord[j] == approved)
  :: (news == declined || news == refused) && OPINION_COUNTS && STILL_OPEN ->
#ifdef KEEPS_ITS_WORD
     INVARIANT(4, ord[a] != approved);
#endif
     end(a, news)
  :: news == wrongdata && OPINION_COUNTS && STILL_OPEN ->
     end(a, refused); WAIT;
     if :: charge == open -> charge = held :: else fi
  :: news == notsent && OPINION_COUNTS && st[a] == open -> doubt = 0; gone = 0; WAIT
  :: news == unknown && OPINION_COUNTS && st[a] == open -> doubt = 1; gone = 0; ever_unknown = 1; WAIT
  :: news == unclear && OPINION_COUNTS && st[a] == open -> doubt = 1; gone = 0; WAIT
  :: news == nothing && OPINION_COUNTS && st[a] == open -> seen = 1; doubt = 1; gone = 0; WAIT
  :: news == absent && OPINION_COUNTS && st[a] == open -> seen = 1; doubt = 1; gone = 1
  :: news == failed && OPINION_COUNTS && charge == open ->
     INVARIANT(2, charges == 0);
     WITNESS(7, cur > 0);
     charge = failed; WAIT
  :: news == held && OPINION_COUNTS && charge == open ->
     WITNESS(8, true);
     charge = held; WAIT
  :: news == released && OURS && a > 0 && st[a] == open -> doubt = rep; gone = rep
  :: news == released && OURS && a == 0 -> WAIT
  :: else -> skip
  fi;
  if :: OURS -> leased = 0 :: else fi
}

inline forget() {
  a = 0; j = 0; rep = 0; news = none;
#ifdef UNACKED
  aborted = 0; today = 0;
#endif
#ifdef REUSE
  if :: ghost == me -> ghost = 0; twin = 0 :: else fi;
#endif
}

inline crash() {
#ifdef LIVE
  if :: owner == me && leased -> dead = 1 :: else fi;
#endif
  printf("worker %d: crashes\n", me);
  forget()
}

proctype worker(byte me) {
  byte a = 0, j = 0;
  bit rep = 0;
  mtype news = none;
#ifdef UNACKED
  bit aborted = 0, today = 0;
#endif

end_idle:
  if
  :: atomic {
       DUE ->
#ifdef LIVE
       if :: leased && !dead -> faults++ :: else fi;
       dead = 0;
#endif
       owner = me; leased = 1;
#ifdef REUSE
       if
       :: ghost == me -> ghost = 0; twin = 0
       :: ghost != me && ghost != 0 -> twin = ghost
       :: ghost != me -> twin = 0
       fi;
#endif
       printf("worker %d: claims\n", me);
       if
       :: CANCELLED_BLINDLY -> news = failed; goto record
       :: FRESH && !(OVER) -> openAttempt(); goto before
       :: FRESH && OVER ->
#ifdef LOOKALL
          if :: lost -> j = 1; goto seal :: else fi;
#endif
          news = failed; goto record
       :: OPEN && AGED -> a = cur; news = held; goto record
       :: OPEN && !(AGED) && MAY_LEAVE ->
          a = cur; rep = doubt; doubt = 1; gone = 0; seen = 0; inhand++; j = 1;
          if :: rep -> NOT_ONLY_CLAIM :: else fi;
          goto before
       :: OPEN && !(AGED) && !MAY_LEAVE ->
          a = cur; rep = NEVER_AGAIN; NOT_ONLY_CLAIM; goto resolve
       :: SEALABLE -> j = 1; goto seal
       :: ANOTHER -> openAttempt(); goto before
       :: TOO_MANY -> news = held; goto record
       fi
     }
#ifdef UNACKED
  :: atomic { DUE && (FRESH || ANOTHER) && !(OVER) ->
       a = cur + 1; j = 1; inhand++; aborted = 1; today = current; goto before }
#endif
  fi;

before:                             /* the other names, one request each */
  if
  :: atomic { !(TO_LOOK_UP) -> j = 0; goto send }
  :: atomic { TO_LOOK_UP && FOUND(j) ->
       inhand--;
       if
       :: j == a -> news = approved; j = 0
       :: j != a && rep -> news = held; j = 0
       :: j != a && !rep -> news = earlier
       fi;
       goto record }
  :: atomic { TO_LOOK_UP && NOTFOUND(j) -> j++; goto before }
  :: atomic { TO_LOOK_UP && ABORTED(j) && j == a -> inhand--; j = 0; news = declined; goto record }
  :: atomic { FAULT(TO_LOOK_UP); inhand--; j = 0;
       if :: rep -> news = unknown :: else -> news = notsent fi;
       goto record }
  :: atomic { FAULT(TO_LOOK_UP); inhand--; j = 0; news = released; goto record }
  :: atomic { FAULT(TO_LOOK_UP); inhand--; crash(); goto end_idle }
  fi;

send:                               /* one request; the deadline may have passed: given back */
  if
  :: atomic { FAULT(true); inhand--; news = notsent; goto answered }
  :: atomic { FAULT(true); inhand--; news = unknown; goto answered }
  :: atomic { FAULT(true); inhand--; news = released; goto record }
  :: atomic { FAULT(late[KEY(a, SCOPE)] < LATE); inhand--;
       late[KEY(a, SCOPE)]++; underway++; news = unknown;
       printf("worker %d: sends name %d, which is delayed\n", me, a); goto answered }
  :: atomic { inhand--; printf("worker %d: sends name %d\n", me, a);
       execute(a, SCOPE, news); goto answered }
#ifdef DOUBLED
  :: atomic { FAULT(true); inhand--; printf("worker %d: sends name %d, which arrives twice\n", me, a);
       execute(a, SCOPE, news); execute(a, SCOPE, news); goto answered }
  :: atomic { FAULT(late[KEY(a, SCOPE)] < LATE); inhand--;
       late[KEY(a, SCOPE)]++; underway++;
       printf("worker %d: sends name %d; a copy is delayed\n", me, a);
       execute(a, SCOPE, news); goto answered }
#endif
  :: atomic { FAULT(true); inhand--; crash(); goto end_idle }
  fi;

answered:                           /* Work.after(outcome): what the answer means */
  atomic {
    if
    :: FAULT(true); news = unknown
    :: true
    fi;
#ifdef ANYERROR
    if :: rep && news == unknown -> news = kept :: else fi;
#endif
#ifdef KEPTNEVER
    if :: news == kept -> news = unknown :: else fi;
#endif
    /* Only an answer that is known from before is proven to be kept. */
    if :: news == kept && !rep -> news = unknown :: else fi;
#ifdef KEPTBLIND
    if :: news == kept -> news = refused; goto record :: else fi;
#endif
#ifdef TIMEOUTDECLINED
    if :: news == unknown -> news = declined :: else fi;
#endif
#ifdef DUPLICATEDECLINED
    if :: news == duplicate -> news = declined; goto record :: else fi;
#endif
    if
    :: TO_CONFIRM -> goto confirm
    :: TO_DOUBT -> news = unknown; goto record
    :: news == refused && !rep -> news = wrongdata; goto record
    :: !TO_CONFIRM && !TO_DOUBT -> goto record
    fi
  };

confirm:                            /* Work.after(lookUp, confirms:) */
  if
  :: atomic { FOUND(a) -> WITNESS(9, news == duplicate); news = approved; goto record }
  :: atomic { ABORTED(a) -> news = declined; goto record }
  :: atomic { NOTFOUND(a) ->
       if
       :: news == duplicate -> news = unknown
       :: news == kept -> WITNESS(10, true); news = refused
       :: else
       fi;
       goto record }
  :: atomic { FAULT(true); news = unclear; goto record }
  :: atomic { FAULT(true); crash(); goto end_idle }
  fi;

resolve:                            /* Work.after(lookUp) */
  if
  :: atomic { FOUND(a) -> news = approved; goto record }
  :: atomic { ABORTED(a) -> news = declined; goto record }
#if defined(NEWNAME)
  :: atomic { NOTFOUND(a) -> news = declined; goto record }
#elif defined(ONENOTFOUND)
  :: atomic { NOTFOUND(a) -> news = absent; goto record }
#elif defined(AGEDATONCE)
  :: atomic { NOTFOUND(a) && seen -> news = absent; goto record }
#else
  :: atomic { NOTFOUND(a) && seen && !rep -> news = absent; goto record }
#endif
#ifdef LIVE
  :: atomic { NOTFOUND(a) && (!seen || rep) -> news = nothing; goto record }
#else
  :: atomic { NOTFOUND(a) -> news = nothing; goto record }
#endif
  :: atomic { FAULT(true); news = unclear; goto record }
  :: atomic { FAULT(true); a = 0; news = released; goto record }
  :: atomic { FAULT(true); crash(); goto end_idle }
  fi;

seal:                               /* every name once more, then the charge fails */
  if
  :: atomic { !(TO_SEAL) -> j = 0; news = failed; goto record }
  :: atomic { TO_SEAL && FOUND(j) -> news = earlier; goto record }
  :: atomic { TO_SEAL && NOTFOUND(j) -> j++; goto seal }
  :: atomic { FAULT(TO_SEAL); j = 0; news = released; goto record }
  :: atomic { FAULT(TO_SEAL); crash(); goto end_idle }
  fi;

record:                             /* repeated until acknowledged, or until the worker dies */
  if
  :: atomic { apply(); forget(); goto end_idle }
  :: atomic { FAULT(true); apply(); goto record }
  :: atomic { FAULT(true); crash(); goto end_idle }
  fi
}

init { atomic { byte i; for (i : 1 .. NW) { run worker(i) } } }

#ifdef LIVE
ltl settles { <> (charge != open) }
ltl rests { <> [] (leased == 0) }
#ifdef WAITS
ltl waits { [] <> (due == 0) }
#endif
ltl recorded { [] ((charges > 0) -> <> (charge == paid || charge == held)) }
#endif
