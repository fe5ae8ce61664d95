/* Preloaded into a peer in whose copy every `cpuid` was replaced by 0f ff (`ud0`; see avx2.py):
 * answers as a processor without AVX-512, AVX-VNNI and AMX would.
 *
 * - Leaves other than 7 and 0x24 are the processor's own.
 * - Compilers do not use `ud0`, so each one is ours. Another illegal instruction ends the process,
 *   as it would have without this. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

/* Leaf 7, EBX: AVX512F, DQ, IFMA, PF, ER, CD, BW, VL. */
#define HIDDEN_EBX                                                                                 \
    (1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31)
/* ECX: VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ. */
#define HIDDEN_ECX (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
/* EDX: 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8. */
#define HIDDEN_EDX (1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25)
/* Leaf 7, subleaf 1, EAX: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA. */
#define HIDDEN_1_EAX (1u << 4 | 1u << 5 | 1u << 21 | 1u << 23)
/* EDX: AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10. */
#define HIDDEN_1_EDX (1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19)

static void answer(int number, siginfo_t *info, void *opaque)
{
    greg_t *r = ((ucontext_t *)opaque)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)r[REG_RIP];
    unsigned a, b, c, d, leaf = (unsigned)r[REG_RAX], sub = (unsigned)r[REG_RCX];
    (void)info;
    if (at[0] != 0x0f || at[1] != 0xff) {
        signal(number, SIG_DFL);
        return;
    }
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0) {
        b &= ~HIDDEN_EBX;
        c &= ~HIDDEN_ECX;
        d &= ~HIDDEN_EDX;
    } else if (leaf == 7 && sub == 1) {
        a &= ~HIDDEN_1_EAX;
        d &= ~HIDDEN_1_EDX;
    } else if (leaf == 0x24) {
        a = b = c = d = 0;
    }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor(101))) static void begin(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGILL, &action, NULL);
}
