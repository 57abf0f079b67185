/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between iommu.c (the host's own DMA windows) and iommu_user_window.c (a user's).
 */
#ifndef PSERIES_IOMMU_USER_WINDOW_H
#define PSERIES_IOMMU_USER_WINDOW_H

#include <linux/mutex.h>
#include <linux/types.h>
#include <asm/byteorder.h>
#include <asm/iommu.h>

struct device_node;
struct pci_dev;

/* Cells of "ibm,ddw-applicable": RTAS tokens */
enum {
	DDW_QUERY_PE_DMA_WIN  = 0,
	DDW_CREATE_PE_DMA_WIN = 1,
	DDW_REMOVE_PE_DMA_WIN = 2,

	DDW_APPLICABLE_SIZE
};

/* Cells of "ibm,ddw-extensions" */
enum {
	DDW_EXT_SIZE = 0,
	DDW_EXT_RESET_DMA_WIN = 1,
	DDW_EXT_QUERY_OUT_SIZE = 2,
	DDW_EXT_LIMITED_ADDR_MODE = 3
};

/* A window as the host's driver notes it in the device tree */
struct dynamic_dma_window_prop {
	__be32	liobn;		/* TCE table number */
	__be64	dma_base;	/* address hi, lo */
	__be32	tce_shift;	/* ilog2(tce_page_size) */
	__be32	window_shift;	/* ilog2(tce_window_size) */
};

struct ddw_query_response {
	u32 windows_available;
	u64 largest_available_block;
	u32 page_size;
	u32 migration_capable;
};

struct ddw_create_response {
	u32 liobn;
	u32 addr_hi;
	u32 addr_lo;
};

/* Serializes changes of windows, the host's and a user's */
extern struct mutex dma_win_init_mutex;

/* iommu.c; all but the first three under dma_win_init_mutex */
struct iommu_table *iommu_pseries_alloc_table(int node);
void iommu_table_setparms_common(struct iommu_table *tbl, unsigned long busno,
				 unsigned long liobn, unsigned long win_addr,
				 unsigned long window_size, unsigned long page_shift,
				 void *base, struct iommu_table_ops *table_ops);
struct device_node *pci_dma_find(struct device_node *dn,
				 struct dynamic_dma_window_prop *prop);
int query_ddw(struct pci_dev *dev, const u32 *ddw_avail,
	      struct ddw_query_response *query, struct device_node *parent);
int create_ddw(struct pci_dev *dev, const u32 *ddw_avail,
	       struct ddw_create_response *create, int page_shift, int window_shift);
int reset_dma_window(struct pci_dev *dev, struct device_node *par_dn);
int __remove_dma_window(struct device_node *np, u32 *ddw_avail, u64 liobn);
void dma_win_forget(struct device_node *pdn, bool gone);

extern struct iommu_table_ops iommu_table_lpar_multi_ops;

/* iommu_user_window.c */
extern struct iommu_table_group_ops spapr_tce_table_group_ops;

#endif /* PSERIES_IOMMU_USER_WINDOW_H */
