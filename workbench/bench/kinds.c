// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin for QEMU: how many instructions of each kind run between two marks.
 *
 * Instructions are no cycles: a larx/stcx. pair, a barrier or a cache-inhibited store costs
 * many times what an addition does. A program in the emulated machine puts marks around what it
 * measures (workbench/bench/mark.h): instructions that no compiler makes. At each end mark a
 * line with the counts since the begin mark goes to the file given as out=FILE:
 *
 *	insns larx stcx sync lwsync isync ci sc hrfid
 *
 * sync has ptesync in it; ci are the cache-inhibited loads and stores of real mode (MMIO through
 * a mapping can't be told from memory); sc are system and hypervisor calls; hrfid is what
 * enters the firmware (OPAL) or a guest.
 *
 * Counters are per vCPU and go up inline, so the emulated machine is little slower, and its
 * virtual time (-icount) is the same as without the plugin. Marks count on the vCPU they run on.
 *
 * QEMU's header is in no package: what is needed of the interface (version 4, as QEMU 10 has)
 * is declared here.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_info;

struct plugin_u64 {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
					   void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_get(struct plugin_u64 entry, unsigned int vcpu);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int vcpu, void *data),
					    enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn,
							 enum qemu_plugin_op op,
							 struct plugin_u64 entry, uint64_t by);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;

enum kind { INSN, LARX, STCX, SYNC, LWSYNC, ISYNC, CI, SC, HRFID, KINDS };

#define MARK_BEGIN	0x60005a5b	/* ori r0,r0,0x5a5b */
#define MARK_END	0x60005a5c
#define VCPUS		16

static FILE *out;
static struct plugin_u64 count[KINDS];
static uint64_t began[VCPUS][KINDS];

/*
 * The kernel is little endian, the firmware big endian: what is nothing special in one order
 * is looked at in the other. A word of the kernel's hardly ever is one of these kinds there.
 */
static enum kind kind_of(uint32_t insn)
{
	unsigned int opcode = insn >> 26, xo = insn >> 1 & 0x3ff;

	if (opcode == 17)
		return (insn & ~0x0fe0u) == 0x44000002 || insn == 0x44000001 ? SC : INSN;
	if (opcode == 19)
		return xo == 150 ? ISYNC : xo == 274 ? HRFID : INSN;
	if (opcode != 31)
		return INSN;
	switch (xo) {
	case 20: case 52: case 84: case 116:
		return LARX;
	case 150: case 214: case 694: case 726:
		return STCX;
	case 598:
		return (insn >> 21 & 3) == 1 ? LWSYNC : SYNC;
	case 789: case 821: case 853: case 885:
	case 917: case 949: case 981: case 1013:
		return CI;
	}
	return INSN;
}

static void mark_begin(unsigned int vcpu, void *data)
{
	unsigned int k;

	for (k = 0; vcpu < VCPUS && k < KINDS; k++)
		began[vcpu][k] = qemu_plugin_u64_get(count[k], vcpu);
}

static void mark_end(unsigned int vcpu, void *data)
{
	unsigned int k;

	for (k = 0; vcpu < VCPUS && k < KINDS; k++)
		fprintf(out, "%llu%c", (unsigned long long)
			(qemu_plugin_u64_get(count[k], vcpu) - began[vcpu][k]),
			k + 1 < KINDS ? ' ' : '\n');
	fflush(out);
}

static void count_insn(struct qemu_plugin_insn *insn, enum kind kind)
{
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							    count[kind], 1);
}

static void translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *insn;
	enum kind kind;
	uint32_t word;

	for (i = 0; i < n; i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		if (qemu_plugin_insn_data(insn, &word, sizeof(word)) != sizeof(word))
			continue;
		kind = kind_of(word);
		if (kind == INSN)
			kind = kind_of(__builtin_bswap32(word));
		count_insn(insn, INSN);
		if (kind != INSN)
			count_insn(insn, kind);
		if (word == MARK_BEGIN || word == MARK_END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, word == MARK_END ?
							       mark_end : mark_begin,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

__attribute__((visibility("default")))
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	struct qemu_plugin_scoreboard *score;
	unsigned int k;

	if (argc == 1 && !strncmp(argv[0], "out=", 4))
		out = fopen(argv[0] + 4, "w");
	if (!out) {
		fprintf(stderr, "kinds: wants out=FILE\n");
		return 1;
	}
	score = qemu_plugin_scoreboard_new(KINDS * sizeof(uint64_t));
	for (k = 0; k < KINDS; k++)
		count[k] = (struct plugin_u64) { score, k * sizeof(uint64_t) };
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
