/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOMMU API: paging domains on TCE tables. See arch/powerpc/kernel/iommu_domain.c.
 *
 * The functions implement struct iommu_domain_ops, with two exceptions: attaching takes the
 * table group, and leaving is the first step of attaching another domain. The table of
 * operations is in arch/powerpc/kernel/iommu.c, beside those of the platform and the blocked
 * domain.
 */
#ifndef _ASM_POWERPC_IOMMU_DOMAIN_H
#define _ASM_POWERPC_IOMMU_DOMAIN_H

#include <linux/bits.h>
#include <linux/math.h>
#include <linux/types.h>

#include <asm/page.h>

struct device;
struct iommu_domain;
struct iommu_iotlb_gather;
struct iommu_table_group;
struct list_head;

/*
 * The shape of every domain's table: what TVE 0 reaches, four equal levels, kernel pages.
 * Constants, as each map and unmap of a page walks all levels.
 */
#define SPAPR_TCE_DOMAIN_SHIFT		50
#define SPAPR_TCE_DOMAIN_LEVELS		4
/* log2 of the words of a level, at least IOMMU_LEVEL_MIN_SHIFT */
#define SPAPR_TCE_DOMAIN_LEVEL_SHIFT	\
	DIV_ROUND_UP(SPAPR_TCE_DOMAIN_SHIFT - PAGE_SHIFT, SPAPR_TCE_DOMAIN_LEVELS)

struct iommu_domain *spapr_tce_domain_alloc(struct iommu_table_group *table_group);
void spapr_tce_domain_free(struct iommu_domain *domain);

int spapr_tce_domain_attach(struct iommu_domain *domain,
			    struct iommu_table_group *table_group,
			    struct device *dev);
#ifdef CONFIG_SPAPR_TCE_IOMMU
int spapr_tce_domain_leave(struct iommu_table_group *table_group);
#else
static inline int spapr_tce_domain_leave(struct iommu_table_group *table_group)
{
	return 0;
}
#endif

int spapr_tce_domain_map(struct iommu_domain *domain, unsigned long iova,
			 phys_addr_t pa, size_t pgsize, size_t count, int prot,
			 gfp_t gfp, size_t *mapped);
size_t spapr_tce_domain_unmap(struct iommu_domain *domain, unsigned long iova,
			      size_t pgsize, size_t count,
			      struct iommu_iotlb_gather *gather);
phys_addr_t spapr_tce_domain_iova_to_phys(struct iommu_domain *domain,
					  dma_addr_t iova);
int spapr_tce_domain_sync_map(struct iommu_domain *domain, unsigned long iova,
			      size_t size);
void spapr_tce_domain_sync(struct iommu_domain *domain,
			   struct iommu_iotlb_gather *gather);

void spapr_tce_get_resv_regions(struct device *dev,
				struct iommu_table_group *table_group,
				struct list_head *head);

#endif /* _ASM_POWERPC_IOMMU_DOMAIN_H */
