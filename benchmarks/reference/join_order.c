/* Plain C join ordering, to measure the kernels against. C_out only, one scenario; tables dense by mask, or (for
 * sparse graphs of many relations) by a hash table of the connected sets.
 *
 * Each function is the good algorithm for its shape, written for speed and nothing else. All find the optimal
 * cost first and then, for the few sets of the plan, the split that reaches it; a plan is written as
 * (left, right, cost) by post-order position.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t mask;

#ifdef _MSC_VER
#include <intrin.h>
#define EXPORT __declspec(dllexport)
static inline int lowest(mask x) { unsigned long i; _BitScanForward64(&i, (uint64_t)x); return (int)i; }
#else
#define EXPORT
static inline int lowest(mask x) { return __builtin_ctzll((uint64_t)x); }
#endif

static inline int size_of(mask x) { int n = 0; while (x) { x &= x - 1; n++; } return n; }

typedef struct { int32_t left, right; double cost; mask relations; } node;

/* ---- acyclic graphs: tree splits. sets: connected sets, subsets first; below: subtree masks, root last ---- */

EXPORT double tree_splits(int n, int64_t count, const mask *sets, const mask *below, const double *rows,
                          double *cost, node *out) {
    for (int64_t i = 0; i < count; i++) {
        mask s = sets[i], rest = s, next = rest & (rest - 1);
        if (!next) { cost[s] = 0; continue; }
        double best = INFINITY;
        do {
            mask low = s & below[lowest(rest)];
            double c = cost[low] + cost[s ^ low];
            best = c < best ? c : best;
            rest = next;
            next = rest & (rest - 1);
        } while (next);
        cost[s] = best + rows[i];
    }
    mask full = sets[count - 1];
    struct { mask s; int at; } stack[128];
    int depth = 0;
    stack[depth].s = full; stack[depth++].at = 2 * n - 2;
    while (depth) {
        mask s = stack[--depth].s; int at = stack[depth].at;
        out[at].relations = s; out[at].cost = cost[s]; out[at].left = out[at].right = -1;
        if (!(s & (s - 1))) continue;
        mask chosen = 0; double best = INFINITY;
        for (mask rest = s; rest & (rest - 1); rest &= rest - 1) {
            mask low = s & below[lowest(rest)];
            double c = cost[low] + cost[s ^ low];
            if (c < best || !chosen) { best = c; chosen = low; }
        }
        int right = size_of(chosen);
        out[at].left = at - 2 * right; out[at].right = at - 1;
        stack[depth].s = s ^ chosen; stack[depth++].at = at - 2 * right;
        stack[depth].s = chosen; stack[depth++].at = at - 1;
    }
    return cost[full];
}

/* ---- dense graphs: all subset splits; cost of disconnected sets is infinite from the start ---- */

static void plan_by_subsets(int n, mask full, const double *cost, node *out) {
    struct { mask s; int at; } stack[128];
    int depth = 0;
    stack[depth].s = full; stack[depth++].at = 2 * n - 2;
    while (depth) {
        mask s = stack[--depth].s; int at = stack[depth].at;
        out[at].relations = s; out[at].cost = cost[s]; out[at].left = out[at].right = -1;
        mask within = s & (s - 1), chosen = 0;
        if (!within) continue;
        double best = INFINITY;
        for (mask part = within; part; part = (part - 1) & within) {
            double c = cost[part] + cost[s ^ part];
            if (c < best) { best = c; chosen = part; }
        }
        int right = size_of(chosen);
        out[at].left = at - 2 * right; out[at].right = at - 1;
        stack[depth].s = s ^ chosen; stack[depth++].at = at - 2 * right;
        stack[depth].s = chosen; stack[depth++].at = at - 1;
    }
}

EXPORT double subset_splits(int n, int64_t count, const mask *sets, const double *rows, double *cost, node *out) {
    for (int64_t i = 0; i < count; i++) {
        mask s = sets[i], within = s & (s - 1);
        if (!within) { cost[s] = 0; continue; }
        double best = INFINITY;
        for (mask part = within; part; part = (part - 1) & within) {
            double c = cost[part] + cost[s ^ part];
            best = c < best ? c : best;
        }
        cost[s] = best + rows[i];
    }
    plan_by_subsets(n, ((mask)1 << n) - 1, cost, out);
    return cost[((mask)1 << n) - 1];
}

/* ---- any graph: DPccp with recursion, as in the paper; rows by mask; cost is infinite from the start ---- */

typedef struct { const mask *near; const double *rows; double *cost; mask *choice; int n; } ccp;

static inline mask near_of(const ccp *g, mask s) {
    mask all = 0;
    for (mask rest = s; rest; rest &= rest - 1) all |= g->near[lowest(rest)];
    return all;
}

static inline void emit_pair(const ccp *g, mask a, mask b) {
    mask s = a | b;
    double c = g->cost[a] + g->cost[b] + g->rows[s];
    if (c < g->cost[s]) { g->cost[s] = c; g->choice[s] = b; }
}

static void cmp_rec(const ccp *g, mask first, mask s, mask around, mask excluded) {
    mask frontier = around & ~excluded & ~s;
    if (!frontier) return;
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        emit_pair(g, first, s | sub);
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        cmp_rec(g, first, s | sub, around | near_of(g, sub), excluded | frontier);
}

static void emit_csg(const ccp *g, mask s, mask around) {
    mask low = s & -s, excluded = s | low | (low - 1), frontier = around & ~excluded;
    for (mask rest = frontier; rest; rest &= rest - 1) {
        mask v = rest & -rest;
        emit_pair(g, s, v);
        cmp_rec(g, s, v, g->near[lowest(v)], excluded | (frontier & (v | (v - 1))));
    }
}

static void csg_rec(const ccp *g, mask s, mask around, mask excluded) {
    mask frontier = around & ~excluded & ~s;
    if (!frontier) return;
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        emit_csg(g, s | sub, around | near_of(g, sub));
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        csg_rec(g, s | sub, around | near_of(g, sub), excluded | frontier);
}

EXPORT double connected_pairs(int n, const mask *near, int64_t count, const mask *sets, const double *by_set,
                              double *rows, double *cost, mask *choice, node *out) {
    ccp g = {near, rows, cost, choice, n};
    for (int64_t i = 0; i < count; i++) { rows[sets[i]] = by_set[i]; cost[sets[i]] = INFINITY; choice[sets[i]] = 0; }
    for (int v = n - 1; v >= 0; v--) cost[(mask)1 << v] = 0;
    for (int v = n - 1; v >= 0; v--) {
        mask s = (mask)1 << v;
        emit_csg(&g, s, near[v]);
        csg_rec(&g, s, near[v], s | (s - 1));
    }
    mask full = ((mask)1 << n) - 1;
    struct { mask s; int at; } stack[128];
    int depth = 0;
    stack[depth].s = full; stack[depth++].at = 2 * n - 2;
    while (depth) {
        mask s = stack[--depth].s; int at = stack[depth].at;
        out[at].relations = s; out[at].cost = cost[s]; out[at].left = out[at].right = -1;
        if (!(s & (s - 1)) || !choice[s]) continue;
        int right = size_of(choice[s]);
        out[at].left = at - 2 * right; out[at].right = at - 1;
        stack[depth].s = s ^ choice[s]; stack[depth++].at = at - 2 * right;
        stack[depth].s = choice[s]; stack[depth++].at = at - 1;
    }
    return cost[full];
}

/* ---- the same for sparse graphs: connected sets in a hash table, costs by their index ---- */

static inline uint64_t hash(mask x) {
    uint64_t h = (uint64_t)x * 0x9E3779B97F4A7C15ull;
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ull;
    return h ^ (h >> 32);
}

static inline int32_t find(mask x, const mask *sets, const int32_t *slots, uint64_t wrap) {
    uint64_t at = hash(x) & wrap;
    while (sets[slots[at]] != x) at = (at + 1) & wrap;
    return slots[at];
}

/* slots: wrap + 1 entries of -1 */
EXPORT void index_sets(int64_t count, const mask *sets, int32_t *slots, uint64_t wrap) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t at = hash(sets[i]) & wrap;
        while (slots[at] >= 0) at = (at + 1) & wrap;
        slots[at] = (int32_t)i;
    }
}

static void plan_of_choices(int n, int64_t count, const mask *sets, const int32_t *slots, uint64_t wrap,
                            const double *cost, const int32_t *choice, node *out) {
    struct { int32_t s; int at; } stack[128];
    int depth = 0;
    stack[depth].s = find(((mask)1 << n) - 1, sets, slots, wrap); stack[depth++].at = 2 * n - 2;
    (void)count;
    while (depth) {
        int32_t s = stack[--depth].s; int at = stack[depth].at;
        out[at].relations = sets[s]; out[at].cost = cost[s]; out[at].left = out[at].right = -1;
        if (!(sets[s] & (sets[s] - 1)) || choice[s] < 0) continue;
        int right = size_of(sets[choice[s]]);
        out[at].left = at - 2 * right; out[at].right = at - 1;
        stack[depth].s = find(sets[s] ^ sets[choice[s]], sets, slots, wrap); stack[depth++].at = at - 2 * right;
        stack[depth].s = choice[s]; stack[depth++].at = at - 1;
    }
}

EXPORT double tree_splits_hashed(int n, int64_t count, const mask *sets, const mask *below, const int32_t *slots,
                                 uint64_t wrap, const double *rows, double *cost, int32_t *choice, node *out) {
    for (int64_t i = 0; i < count; i++) {
        mask s = sets[i];
        choice[i] = -1;
        if (!(s & (s - 1))) { cost[i] = 0; continue; }
        double best = INFINITY;
        for (mask rest = s; rest & (rest - 1); rest &= rest - 1) {
            mask low = s & below[lowest(rest)];
            int32_t part = find(low, sets, slots, wrap);
            double c = cost[part] + cost[find(s ^ low, sets, slots, wrap)];
            if (c < best) { best = c; choice[i] = part; }
        }
        cost[i] = best + rows[i];
    }
    plan_of_choices(n, count, sets, slots, wrap, cost, choice, out);
    return cost[find(((mask)1 << n) - 1, sets, slots, wrap)];
}

typedef struct {
    const mask *near, *sets; const int32_t *slots; uint64_t wrap; const double *rows; double *cost; int32_t *choice;
} sparse;

static inline mask sparse_near(const sparse *g, mask s) {
    mask all = 0;
    for (mask rest = s; rest; rest &= rest - 1) all |= g->near[lowest(rest)];
    return all;
}

static inline void sparse_emit(const sparse *g, mask a, int32_t first, mask b) {
    int32_t second = find(b, g->sets, g->slots, g->wrap), both = find(a | b, g->sets, g->slots, g->wrap);
    double c = g->cost[first] + g->cost[second] + g->rows[both];
    if (c < g->cost[both]) { g->cost[both] = c; g->choice[both] = second; }
}

static void sparse_cmp(const sparse *g, mask first, int32_t at, mask s, mask around, mask excluded) {
    mask frontier = around & ~excluded & ~s;
    if (!frontier) return;
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        sparse_emit(g, first, at, s | sub);
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        sparse_cmp(g, first, at, s | sub, around | sparse_near(g, sub), excluded | frontier);
}

static void sparse_csg(const sparse *g, mask s, mask around) {
    mask low = s & -s, excluded = s | low | (low - 1), frontier = around & ~excluded;
    int32_t at = find(s, g->sets, g->slots, g->wrap);
    for (mask rest = frontier; rest; rest &= rest - 1) {
        mask v = rest & -rest;
        sparse_emit(g, s, at, v);
        sparse_cmp(g, s, at, v, g->near[lowest(v)], excluded | (frontier & (v | (v - 1))));
    }
}

static void sparse_rec(const sparse *g, mask s, mask around, mask excluded) {
    mask frontier = around & ~excluded & ~s;
    if (!frontier) return;
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        sparse_csg(g, s | sub, around | sparse_near(g, sub));
    for (mask sub = (0 - frontier) & frontier; sub; sub = (sub - frontier) & frontier)
        sparse_rec(g, s | sub, around | sparse_near(g, sub), excluded | frontier);
}

EXPORT double connected_pairs_hashed(int n, const mask *near, int64_t count, const mask *sets, const int32_t *slots,
                                     uint64_t wrap, const double *rows, double *cost, int32_t *choice, node *out) {
    sparse g = {near, sets, slots, wrap, rows, cost, choice};
    for (int64_t i = 0; i < count; i++) { cost[i] = sets[i] & (sets[i] - 1) ? INFINITY : 0; choice[i] = -1; }
    for (int v = n - 1; v >= 0; v--) {
        mask s = (mask)1 << v;
        sparse_csg(&g, s, near[v]);
        sparse_rec(&g, s, near[v], s | (s - 1));
    }
    plan_of_choices(n, count, sets, slots, wrap, cost, choice, out);
    return cost[find(((mask)1 << n) - 1, sets, slots, wrap)];
}

/* What a call alone costs. */
EXPORT double nothing(int n, const mask *a, int64_t count, const mask *b, const void *c, uint64_t d, const void *e,
                      void *f, void *g, void *h) {
    (void)a; (void)b; (void)c; (void)d; (void)e; (void)f; (void)g; (void)h;
    return n + (double)count;
}
