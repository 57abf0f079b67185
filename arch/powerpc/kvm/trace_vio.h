/* SPDX-License-Identifier: GPL-2.0-or-later */
#if !defined(_TRACE_KVM_VIO_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_VIO_H

#include <linux/tracepoint.h>
#include <asm/hvcall.h>
#include "book3s_64_vio.h"

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_vio

TRACE_DEFINE_ENUM(KVM_TCE_LACK_NOTHING);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_LIOBN);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_MEMORY);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_REGION);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_TABLE);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_TIME);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_GVIEW);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_LEVEL);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_LOCK);
TRACE_DEFINE_ENUM(KVM_TCE_LACK_SLEEP);

/*
 * A TCE hypercall that ended in virtual mode (including the way out of the guest), or, if @ret
 * is H_TOO_HARD, that user space must serve. value: the TCE, the list's guest address, or the
 * value of H_STUFF_TCE. @lack: what real mode lacked or, for user space, what KVM lacks.
 */
TRACE_EVENT(kvm_tce_hcall,
	TP_PROTO(const struct kvmppc_tce_call *c, unsigned long liobn,
		 enum kvmppc_tce_lack lack, long ret),
	TP_ARGS(c, liobn, lack, ret),

	TP_STRUCT__entry(
		__field(unsigned long,	hcall)
		__field(unsigned long,	liobn)
		__field(unsigned long,	ioba)
		__field(unsigned long,	value)
		__field(unsigned long,	npages)
		__field(unsigned int,	lack)
		__field(long,		ret)
	),

	TP_fast_assign(
		__entry->hcall	= c->nr;
		__entry->liobn	= liobn;
		__entry->ioba	= c->ioba;
		__entry->value	= c->value;
		__entry->npages	= c->n;
		__entry->lack	= lack;
		__entry->ret	= ret;
	),

	TP_printk("%s liobn=0x%lx ioba=0x%lx value=0x%lx npages=%lu ret=%ld lack=%s",
		  __print_symbolic(__entry->hcall,
				   { H_GET_TCE, "H_GET_TCE" },
				   { H_PUT_TCE, "H_PUT_TCE" },
				   { H_PUT_TCE_INDIRECT, "H_PUT_TCE_INDIRECT" },
				   { H_STUFF_TCE, "H_STUFF_TCE" }),
		  __entry->liobn, __entry->ioba, __entry->value,
		  __entry->npages, __entry->ret,
		  __print_symbolic(__entry->lack,
				   { KVM_TCE_LACK_NOTHING, "nothing" },
				   { KVM_TCE_LACK_LIOBN, "liobn" },
				   { KVM_TCE_LACK_MEMORY, "memory" },
				   { KVM_TCE_LACK_REGION, "region" },
				   { KVM_TCE_LACK_TABLE, "table" },
				   { KVM_TCE_LACK_TIME, "time" },
				   { KVM_TCE_LACK_GVIEW, "view" },
				   { KVM_TCE_LACK_LEVEL, "level" },
				   { KVM_TCE_LACK_LOCK, "lock" },
				   { KVM_TCE_LACK_SLEEP, "sleep" }))
);

/* A hardware table is attached to a LIOBN for an IOMMU group, or detached (@attached 0). */
TRACE_EVENT(kvm_tce_table,
	TP_PROTO(unsigned long liobn, int group, bool attached),
	TP_ARGS(liobn, group, attached),

	TP_STRUCT__entry(
		__field(unsigned long,	liobn)
		__field(int,		group)
		__field(bool,		attached)
	),

	TP_fast_assign(
		__entry->liobn		= liobn;
		__entry->group		= group;
		__entry->attached	= attached;
	),

	TP_printk("liobn=0x%lx group=%d attached=%d",
		  __entry->liobn, __entry->group, __entry->attached)
);

#endif /* _TRACE_KVM_VIO_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE

#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace_vio

#include <trace/define_trace.h>
