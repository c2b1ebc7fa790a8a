// Runs CUDA kernels on a CPU, one block at a time: every thread of a block is a fiber that yields where the threads
// must meet. Enough of CUDA for splat.cu, compiled as C++ with this header in front.
#pragma once
#define EMULATED 1
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
using std::max;
using std::min;

struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct float4 { float x, y, z, w; };
struct uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct simt_dim { unsigned x; };
static simt_dim threadIdx, blockIdx, blockDim, gridDim;

inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
inline unsigned __float_as_uint(float f) { unsigned i; memcpy(&i, &f, 4); return i; }
inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(unsigned v) { return v ? __builtin_clz(v) : 32; }
inline float __log2f(float x) { return log2f(x); }
inline int __ffs(unsigned v) { return __builtin_ffs((int)v); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int __float2int_ru(float x) { return (int)fminf(fmaxf(ceilf(x), -2147483648.0f), 2147483520.0f); }
inline int __float2int_rd(float x) { return (int)fminf(fmaxf(floorf(x), -2147483648.0f), 2147483520.0f); }
inline float __logf(float x) { return logf(x); }
template <class T> T atomicAdd(T* p, T v) { const T old = *p; *p += v; return old; }

inline unsigned atomicOr(unsigned* p, unsigned v) { const unsigned old = *p; *p |= v; return old; }

struct simt_meeting { int arrived = 0, round = 0; };
struct simt_warp { simt_meeting meeting; uint32_t values[2][32]; };
struct simt_fiber { ucontext_t context; std::vector<char> stack; bool done = false; };
static std::vector<simt_fiber> simt_fibers;
static std::vector<simt_warp> simt_warps;
static simt_meeting simt_block;
static ucontext_t simt_scheduler;
static unsigned simt_waits;

inline void simt_yield() {
    const unsigned me = threadIdx.x;
    swapcontext(&simt_fibers[me].context, &simt_scheduler);
    threadIdx.x = me;
}
inline void simt_meet(simt_meeting& meeting, int all) {
    const int round = meeting.round;
    if (++meeting.arrived == all) {
        meeting.arrived = 0;
        ++meeting.round;
    }
    while (meeting.round == round) simt_yield();
}
inline void __syncthreads() { simt_meet(simt_block, (int)blockDim.x); }
static int simt_votes[2];
inline int __syncthreads_or(int predicate) {
    const int side = simt_block.round & 1;
    simt_votes[side] |= predicate != 0;
    simt_votes[!side] = 0;
    simt_meet(simt_block, (int)blockDim.x);
    return simt_votes[side];
}
// What every lane of the warp holds, once all have given theirs.
inline const uint32_t* simt_exchange(uint32_t value) {
    simt_warp& warp = simt_warps[threadIdx.x / 32];
    const int side = warp.meeting.round & 1;
    warp.values[side][threadIdx.x % 32] = value;
    simt_meet(warp.meeting, 32);
    return warp.values[side];
}
inline void __syncwarp() { simt_exchange(0); }
inline unsigned __ballot_sync(unsigned, unsigned predicate) {
    const uint32_t* all = simt_exchange(predicate != 0);
    unsigned word = 0;
    for (int i = 0; i < 32; ++i) word |= all[i] << i;
    return word;
}
inline bool __any_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) != 0; }
template <class T> T simt_from(const uint32_t* all, int lane) { T v; memcpy(&v, &all[lane], 4); return v; }
template <class T> T __shfl_xor_sync(unsigned, T value, int with) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return simt_from<T>(simt_exchange(bits), (threadIdx.x % 32) ^ with);
}
template <class T> T __shfl_sync(unsigned, T value, int from) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return simt_from<T>(simt_exchange(bits), from);
}
template <class T> T __shfl_up_sync(unsigned, T value, int by) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const int lane = threadIdx.x % 32, from = lane - by;
    return simt_from<T>(simt_exchange(bits), from < 0 ? lane : from);
}

typedef void* P;
static void (*simt_kernel)();
static P* simt_arguments;
static int simt_count;
inline void simt_call() {
    P* a = simt_arguments;
    switch (simt_count) {
        case 4: ((void (*)(P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3]); break;
        case 7: ((void (*)(P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6]); break;
        case 8: ((void (*)(P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]); break;
        case 9: ((void (*)(P, P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]); break;
        case 10: ((void (*)(P, P, P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]); break;
        case 11: ((void (*)(P, P, P, P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]); break;
        case 14: ((void (*)(P, P, P, P, P, P, P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13]); break;
        case 15: ((void (*)(P, P, P, P, P, P, P, P, P, P, P, P, P, P, P))simt_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14]); break;
        default: fprintf(stderr, "no kernel takes %d arguments\n", simt_count); abort();
    }
}
static void simt_body() {
    const unsigned me = threadIdx.x;
    simt_call();
    simt_fibers[me].done = true;
    swapcontext(&simt_fibers[me].context, &simt_scheduler);
}
extern "C" void simt_launch(void (*kernel)(), int grid, int block, int count, void** arguments) {
    simt_kernel = kernel;
    simt_arguments = arguments;
    simt_count = count;
    blockDim.x = block;
    gridDim.x = grid;
    simt_fibers.resize(block);
    simt_warps.assign((block + 31) / 32, simt_warp());
    for (int b = 0; b < grid; ++b) {
        blockIdx.x = b;
        simt_block = simt_meeting();
        for (int t = 0; t < block; ++t) {
            simt_fiber& fiber = simt_fibers[t];
            fiber.stack.resize(1 << 16);
            fiber.done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, simt_body, 0);
        }
        for (bool any = true; any;) {
            any = false;
            for (int t = 0; t < block; ++t)
                if (!simt_fibers[t].done) {
                    any = true;
                    threadIdx.x = t;
                    swapcontext(&simt_scheduler, &simt_fibers[t].context);
                }
        }
    }
}
