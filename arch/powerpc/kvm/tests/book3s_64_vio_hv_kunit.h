/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tries of TCE hypercalls once more, instrumented like the rest of the kernel, so that
 * KASAN and the others see them: book3s_64_vio_hv_kunit.c is book3s_64_vio_hv.c by other names.
 */
#ifndef BOOK3S_64_VIO_HV_KUNIT_H
#define BOOK3S_64_VIO_HV_KUNIT_H

#include "../book3s_64_vio.h"
#include <asm/kvm_ppc.h>

extern typeof(kvmppc_tce_find) kunit_tce_find;
extern typeof(kvmppc_tce_in_window) kunit_tce_in_window;
extern typeof(kvmppc_tce_registered) kunit_tce_registered;
extern typeof(kvmppc_tce_list_args) kunit_tce_list_args;
extern typeof(kvmppc_tce_list_check) kunit_tce_list_check;
extern typeof(kvmppc_tce_list_batch) kunit_tce_list_batch;
extern typeof(kvmppc_tce_begin) kunit_tce_begin;
extern typeof(kvmppc_tce_try) kunit_tce_try;
extern typeof(kvmppc_rm_h_get_tce) kunit_rm_h_get_tce;
extern typeof(kvmppc_rm_h_put_tce) kunit_rm_h_put_tce;
extern typeof(kvmppc_rm_h_put_tce_indirect) kunit_rm_h_put_tce_indirect;
extern typeof(kvmppc_rm_h_stuff_tce) kunit_rm_h_stuff_tce;

#endif /* BOOK3S_64_VIO_HV_KUNIT_H */
