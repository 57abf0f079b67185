// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of what an EEH operation of a user relies on: the slot that it resets stays, and so
 * does a device that left the PE under it.
 *
 * They use a PHB that is there, with a slot or a device of their own: no hardware is reset.
 */
#include <kunit/test.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci_hotplug.h>
#include <linux/slab.h>
#include <asm/eeh.h>
#include <asm/pci-bridge.h>
#include <asm/ppc-pci.h>
#include "../../../../../drivers/pci/pci.h"

#define NO_PE		0xfffe	/* an address that no PE has */
#define BUSNO		0x5eeeee	/* a mark in a pci_dn */

/* ---- a slot that notes how it is reset ---- */

static struct {
	unsigned int resets, probes;
	bool kept;		/* by the mutex without which slots go */
} seen;

static int note_reset(struct hotplug_slot *slot, bool probe)
{
	if (probe)
		seen.probes++;
	else
		seen.resets++;
	seen.kept = mutex_is_locked(&pci_slot_mutex);
	return 0;
}

static const struct hotplug_slot_ops noting_ops = {
	.reset_slot = note_reset,
};

/* A PE of a bus behind a bridge, and the bus; NULL if there is none. */
static struct eeh_pe *pe_of_bus(struct pci_bus **bus)
{
	struct pci_dev *pdev = NULL;
	struct eeh_dev *edev;
	struct eeh_pe *pe;

	for_each_pci_dev(pdev) {
		edev = pci_dev_to_eeh_dev(pdev);
		pe = edev ? edev->pe : NULL;
		if (!pe || pe->type & (EEH_PE_PHB | EEH_PE_VF))
			continue;
		*bus = eeh_pe_bus_get_nolock(pe);
		if (!*bus || pci_is_root_bus(*bus))
			continue;
		pci_dev_put(pdev);
		return pe;
	}
	return NULL;
}

static void slot_stays(struct kunit *test)
{
	struct hotplug_slot hotplug = { .ops = &noting_ops };
	struct pci_slot slot = { .hotplug = &hotplug };
	struct pci_bus *bus;
	struct eeh_pe *pe = pe_of_bus(&bus);
	int ret;

	if (!pe)
		kunit_skip(test, "no PE behind a bridge");
	memset(&seen, 0, sizeof(seen));
	slot.bus = bus;
	mutex_lock(&pci_slot_mutex);
	list_add(&slot.list, &bus->slots);
	mutex_unlock(&pci_slot_mutex);

	/* As if a user had one of its devices open */
	atomic_inc(&pe->pass_dev_cnt);
	ret = eeh_ops->reset(pe, EEH_RESET_HOT);
	atomic_dec(&pe->pass_dev_cnt);

	mutex_lock(&pci_slot_mutex);
	list_del(&slot.list);
	mutex_unlock(&pci_slot_mutex);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, seen.resets, 1U);
	KUNIT_EXPECT_EQ(test, seen.probes, 0U);
	KUNIT_EXPECT_TRUE(test, seen.kept);
}

/* ---- a device of its own ---- */

struct device_parts {
	struct eeh_dev *edev;
	struct pci_dn *pdn;
};

static void device_make(struct kunit *test, struct device_parts *d)
{
	struct pci_controller *hose = list_first_entry(&hose_list, typeof(*hose), list_node);

	KUNIT_ASSERT_FALSE(test, list_empty(&hose_list));
	KUNIT_ASSERT_NOT_NULL(test, eeh_phb_pe_get(hose));
	KUNIT_ASSERT_NULL(test, eeh_pe_get(hose, NO_PE));
	d->edev = kzalloc(sizeof(*d->edev), GFP_KERNEL);
	d->pdn = kzalloc(sizeof(*d->pdn), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, d->edev);
	KUNIT_ASSERT_NOT_NULL(test, d->pdn);
	d->pdn->busno = BUSNO;
	d->edev->controller = hose;
	d->edev->pe_config_addr = NO_PE;
}

/* Whatever was freed before is used again. */
static bool marked(struct kunit *test, struct pci_dn *pdn)
{
	unsigned int i;

	for (i = 0; i < 64; i++)
		kunit_kzalloc(test, sizeof(*pdn), GFP_KERNEL);
	return pdn->busno == BUSNO;
}

/* A device that left its PE, and is freed while an operation on the PE is running. */
static void device_stays(struct kunit *test)
{
	struct device_parts d;
	struct eeh_pe *pe;

	device_make(test, &d);
	pci_lock_rescan_remove();
	KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d.edev, NULL), 0);
	pe = d.edev->pe;
	pci_unlock_rescan_remove();
	KUNIT_ASSERT_NOT_NULL(test, pe);
	refcount_inc(&pe->ref);

	pci_lock_rescan_remove();
	KUNIT_EXPECT_EQ(test, eeh_pe_tree_remove(d.edev), 0);
	pci_unlock_rescan_remove();
	KUNIT_EXPECT_NULL(test, d.edev->pe);
	/* The tree's reference is gone; ours and the device's are left. */
	KUNIT_EXPECT_EQ(test, refcount_read(&pe->ref), 2U);

	KUNIT_ASSERT_TRUE(test, eeh_pe_free_dev(d.edev, d.pdn));
	KUNIT_EXPECT_EQ(test, refcount_read(&pe->ref), 1U);
	KUNIT_EXPECT_TRUE(test, marked(test, d.pdn));
	KUNIT_EXPECT_PTR_EQ(test, d.edev->pdn, d.pdn);
	/* With the PE both go. */
	eeh_pe_put(pe);
}

/* A device that never was in a PE is its owner's to free. */
static void device_without_pe(struct kunit *test)
{
	struct device_parts d;

	device_make(test, &d);
	KUNIT_EXPECT_FALSE(test, eeh_pe_free_dev(d.edev, d.pdn));
	kfree(d.edev);
	kfree(d.pdn);
}

static int pnv_eeh_init(struct kunit *test)
{
	if (!machine_is(powernv) || !eeh_enabled())
		kunit_skip(test, "no EEH of PowerNV here");
	return 0;
}

static struct kunit_case pnv_eeh_cases[] = {
	KUNIT_CASE(slot_stays),
	KUNIT_CASE(device_stays),
	KUNIT_CASE(device_without_pe),
	{}
};

static struct kunit_suite pnv_eeh_suite = {
	.name = "pnv_eeh",
	.init = pnv_eeh_init,
	.test_cases = pnv_eeh_cases,
};

kunit_test_suite(pnv_eeh_suite);

MODULE_DESCRIPTION("KUnit tests of EEH operations on PowerNV");
MODULE_LICENSE("GPL");
