// SPDX-License-Identifier: GPL-2.0-or-later
/* See book3s_64_vio_hv_kunit.h. */
#include "book3s_64_vio_hv_kunit.h"

#define kvmppc_tce_find			kunit_tce_find
#define kvmppc_tce_in_window		kunit_tce_in_window
#define kvmppc_tce_registered		kunit_tce_registered
#define kvmppc_tce_list_args		kunit_tce_list_args
#define kvmppc_tce_list_check		kunit_tce_list_check
#define kvmppc_tce_list_batch		kunit_tce_list_batch
#define kvmppc_tce_begin		kunit_tce_begin
#define kvmppc_tce_try			kunit_tce_try
#define kvmppc_rm_h_get_tce		kunit_rm_h_get_tce
#define kvmppc_rm_h_put_tce		kunit_rm_h_put_tce
#define kvmppc_rm_h_put_tce_indirect	kunit_rm_h_put_tce_indirect
#define kvmppc_rm_h_stuff_tce		kunit_rm_h_stuff_tce

#include "../book3s_64_vio_hv.c"
