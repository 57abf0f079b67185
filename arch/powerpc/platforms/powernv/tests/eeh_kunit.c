// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of what an EEH operation of a user relies on: the slot that it resets stays, and so
 * does a device that left the PE under it. And of what closing a PE's last device does.
 *
 * They use a PHB that is there, with a slot or a device of their own: no hardware is reset.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
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
	eeh_pe_pass(pe);
	ret = eeh_ops->reset(pe, EEH_RESET_HOT);
	eeh_pe_unpass(pe);

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
	d->edev = kzalloc_obj(*d->edev);
	d->pdn = kzalloc_obj(*d->pdn);
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

/* All devices of a PE are removed and found again while somebody walks over them. */
static void walk_ends(struct kunit *test)
{
	struct device_parts d[2];
	struct eeh_dev *edev, *next = NULL;
	unsigned int steps = 0;
	struct eeh_pe *pe;
	int i;

	for (i = 0; i < 2; i++)
		device_make(test, &d[i]);
	pci_lock_rescan_remove();
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d[i].edev, NULL), 0);
	pe = d[0].edev->pe;
	KUNIT_EXPECT_PTR_EQ(test, d[1].edev->pe, pe);
	refcount_inc(&pe->ref);
	while ((edev = eeh_pe_walk(pe, &next))) {
		if (++steps > 1)
			break;
		for (i = 0; i < 2; i++)
			eeh_pe_tree_remove(d[i].edev);
		for (i = 0; i < 2; i++)
			KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d[i].edev, NULL), 0);
		KUNIT_EXPECT_PTR_NE(test, d[1].edev->pe, pe);
	}
	/* Not on into the list of the new PE */
	KUNIT_EXPECT_EQ(test, steps, 1U);
	eeh_pe_put(pe);
	for (i = 0; i < 2; i++)
		eeh_pe_tree_remove(d[i].edev);
	pci_unlock_rescan_remove();
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_TRUE(test, eeh_pe_free_dev(d[i].edev, d[i].pdn));
}

/* One device of several leaves: the walk goes on to those behind it. */
static void walk_goes_on(struct kunit *test)
{
	struct device_parts d[3];
	struct eeh_dev *edev, *next = NULL;
	unsigned int steps = 0;
	struct eeh_pe *pe;
	int i;

	for (i = 0; i < 3; i++)
		device_make(test, &d[i]);
	pci_lock_rescan_remove();
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d[i].edev, NULL), 0);
	pe = d[0].edev->pe;
	while ((edev = eeh_pe_walk(pe, &next))) {
		if (++steps > 3)
			break;
		if (edev == d[0].edev)
			eeh_pe_tree_remove(d[1].edev);
		KUNIT_EXPECT_TRUE(test, edev != d[2].edev || steps == 3);
	}
	KUNIT_EXPECT_EQ(test, steps, 3U);
	eeh_pe_tree_remove(d[0].edev);
	eeh_pe_tree_remove(d[2].edev);
	pci_unlock_rescan_remove();
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, eeh_pe_free_dev(d[i].edev, d[i].pdn));
}

/* ---- PEs that go ---- */

struct tree_walk {
	struct device_parts *d;
	unsigned int steps[3];
};

/* The first child's device is removed when the walk is there, and with it that PE. */
static void leave_here(struct eeh_dev *edev, void *data)
{
	struct tree_walk *walk = data;
	int i;

	for (i = 0; i < 3; i++)
		walk->steps[i] += edev == walk->d[i].edev;
	if (edev == walk->d[1].edev && edev->pe)
		eeh_pe_tree_remove(edev);
}

/* The PE at which a walk stands leaves the tree, as a VF's does: those behind it are reached. */
static void tree_walk_goes_on(struct kunit *test)
{
	struct device_parts d[3];
	struct tree_walk walk = { .d = d };
	struct eeh_pe *pe;
	int i;

	for (i = 0; i < 3; i++) {
		device_make(test, &d[i]);
		d[i].edev->pe_config_addr = NO_PE - i;
		KUNIT_ASSERT_NULL(test, eeh_pe_get(d[i].edev->controller, NO_PE - i));
	}
	pci_lock_rescan_remove();
	KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d[0].edev, NULL), 0);
	pe = d[0].edev->pe;
	for (i = 1; i < 3; i++)
		KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(d[i].edev, pe), 0);
	KUNIT_EXPECT_PTR_EQ(test, d[1].edev->pe->parent, pe);
	eeh_pe_dev_traverse(pe, leave_here, &walk);
	KUNIT_EXPECT_NULL(test, d[1].edev->pe);
	KUNIT_EXPECT_GE(test, walk.steps[0], 1U);
	KUNIT_EXPECT_EQ(test, walk.steps[1], 1U);
	KUNIT_EXPECT_EQ(test, walk.steps[2], 1U);
	/* The tree's and the children's: what has left goes with its device. None is the walk's. */
	KUNIT_EXPECT_EQ(test, refcount_read(&pe->ref), 3U);
	KUNIT_EXPECT_EQ(test, refcount_read(&d[2].edev->pe->ref), 1U);
	for (i = 2; i >= 0; i -= 2)
		eeh_pe_tree_remove(d[i].edev);
	pci_unlock_rescan_remove();
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, eeh_pe_free_dev(d[i].edev, d[i].pdn));
}

/* ---- the last user closes a device ---- */

static struct {
	struct eeh_ops ops, *real;
	struct device_parts d;
	struct pci_dev *pdev;
	struct eeh_pe *pe;
	bool frozen;
	bool stuck;			/* can't be thawed */
	bool fails;			/* a reset, or ending one */
	unsigned int resets, deactivated;
	unsigned int fences;		/* accesses to config space, frozen or in reset */
	unsigned int bars;		/* writes to BAR 0 */
	struct completion closed;
} last;

static int last_get_state(struct eeh_pe *pe, int *delay)
{
	if (pe != last.pe)
		return last.real->get_state(pe, delay);
	if (last.stuck)
		return EEH_STATE_RESET_ACTIVE;
	return last.frozen ? 0 : EEH_STATE_MMIO_ACTIVE | EEH_STATE_DMA_ACTIVE |
				 EEH_STATE_MMIO_ENABLED | EEH_STATE_DMA_ENABLED;
}

static int last_set_option(struct eeh_pe *pe, int option)
{
	if (pe != last.pe)
		return last.real->set_option(pe, option);
	if (last.stuck)
		return 0;
	last.frozen = option == EEH_OPT_FREEZE_PE;
	return 0;
}

static int last_reset(struct eeh_pe *pe, int option)
{
	if (pe != last.pe)
		return last.real->reset(pe, option);
	if (option == EEH_RESET_DEACTIVATE)
		last.deactivated++;
	else
		last.resets++;
	return last.fails ? -EIO : 0;
}

static int last_read_config(struct eeh_dev *edev, int where, int size, u32 *val)
{
	if (edev != last.d.edev)
		return last.real->read_config(edev, where, size, val);
	last.fences += last.frozen && !last.deactivated;
	*val = 0;
	return 0;
}

static int last_write_config(struct eeh_dev *edev, int where, int size, u32 val)
{
	if (edev != last.d.edev)
		return last.real->write_config(edev, where, size, val);
	last.fences += last.frozen && !last.deactivated;
	last.bars += where == PCI_BASE_ADDRESS_0;
	return 0;
}

static int last_restore_config(struct eeh_dev *edev)
{
	return edev != last.d.edev ? last.real->restore_config(edev) : 0;
}

/* A device of a PE of its own, opened once, on a platform that notes what is done to it */
static void last_make(struct kunit *test, int state, u16 vendor, u16 device)
{
	memset(&last, 0, sizeof(last));
	init_completion(&last.closed);
	last.pdev = kunit_kzalloc(test, sizeof(*last.pdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, last.pdev);
	device_make(test, &last.d);
	last.pdev->vendor = vendor;
	last.pdev->device = device;
	device_initialize(&last.pdev->dev);
	last.pdev->dev.archdata.edev = last.d.edev;
	last.d.edev->pdev = last.pdev;
	pci_lock_rescan_remove();
	KUNIT_EXPECT_EQ(test, eeh_pe_tree_insert(last.d.edev, NULL), 0);
	pci_unlock_rescan_remove();
	last.pe = last.d.edev->pe;
	KUNIT_ASSERT_NOT_NULL(test, last.pe);
	last.pe->state = state;
	atomic_inc(&last.pe->pass_dev_cnt);
	last.frozen = state & EEH_PE_ISOLATED;

	last.real = eeh_ops;
	last.ops = *eeh_ops;
	last.ops.get_state = last_get_state;
	last.ops.set_option = last_set_option;
	last.ops.reset = last_reset;
	last.ops.read_config = last_read_config;
	last.ops.write_config = last_write_config;
	last.ops.restore_config = last_restore_config;
	eeh_ops = &last.ops;
}

static void last_end(struct kunit *test)
{
	eeh_ops = last.real;
	KUNIT_EXPECT_FALSE(test, eeh_pe_passed(last.pe));
	KUNIT_EXPECT_EQ(test, last.pe->state & (EEH_PE_CFG_BLOCKED | EEH_PE_ISOLATED), 0);
	KUNIT_EXPECT_FALSE(test, last.frozen);
	last.d.edev->pdev = NULL;
	pci_lock_rescan_remove();
	KUNIT_EXPECT_EQ(test, eeh_pe_tree_remove(last.d.edev), 0);
	pci_unlock_rescan_remove();
	KUNIT_EXPECT_TRUE(test, eeh_pe_free_dev(last.d.edev, last.d.pdn));
}

#define RESTRICTED	(EEH_PE_ISOLATED | EEH_PE_CFG_BLOCKED | EEH_PE_CFG_RESTRICTED)

static void user_resets(struct kunit *test)
{
	eeh_pe_pass(last.pe);
	KUNIT_EXPECT_EQ(test, eeh_pe_reset(last.pe, EEH_RESET_HOT, true), 0);
	eeh_pe_unpass(last.pe);
}

static void expect_in_reset(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, last.deactivated, 0U);
	KUNIT_EXPECT_TRUE(test, last.frozen);
	KUNIT_EXPECT_TRUE(test, last.pe->state & EEH_PE_CFG_BLOCKED);
	KUNIT_EXPECT_TRUE(test, eeh_pe_passed(last.pe));
}

/* A user's reset goes on while the device is open. It is deactivated when that is closed, once. */
static void close_ends_reset(struct kunit *test)
{
	last_make(test, 0, 0x1af4, 0x1000);
	user_resets(test);
	eeh_pe_pass(last.pe);
	eeh_pe_unpass(last.pe);
	expect_in_reset(test);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 1U);
	KUNIT_EXPECT_EQ(test, last.fences, 0U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	last_end(test);
}

/* So it is where config space is blocked by a mere freeze, too, also if the user has thawed it. */
static void close_ends_reset_thawed(struct kunit *test)
{
	last_make(test, EEH_PE_CFG_RESTRICTED, 0x14e4, 0x168e);
	user_resets(test);
	last.frozen = false;
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 1U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	last_end(test);
}

/* Only the last of two devices ends it: the other one's user may be in the reset. */
static void close_of_two(struct kunit *test)
{
	last_make(test, EEH_PE_CFG_RESTRICTED, 0x14e4, 0x168e);
	user_resets(test);
	KUNIT_EXPECT_EQ(test, eeh_dev_open(last.pdev), 0);
	expect_in_reset(test);
	eeh_dev_release(last.pdev);
	expect_in_reset(test);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 1U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	last_end(test);
}

/* The device is closed in the middle of an operation, whose end is the last then. */
static void close_in_operation(struct kunit *test)
{
	last_make(test, EEH_PE_CFG_RESTRICTED, 0x14e4, 0x168e);
	eeh_pe_pass(last.pe);
	KUNIT_EXPECT_EQ(test, eeh_pe_reset(last.pe, EEH_RESET_HOT, true), 0);
	eeh_dev_release(last.pdev);
	expect_in_reset(test);
	eeh_pe_unpass(last.pe);
	KUNIT_EXPECT_EQ(test, last.deactivated, 1U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	last_end(test);
}

/* What could not be ended is ended by the next user: the host recovered, or firmware failed. */
static void open_ends_reset(struct kunit *test)
{
	last_make(test, 0, 0x1af4, 0x1000);
	user_resets(test);
	last.pe->state |= EEH_PE_RECOVERING;
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 0U);
	last.pe->state &= ~EEH_PE_RECOVERING;
	last.fails = true;
	KUNIT_EXPECT_EQ(test, eeh_dev_open(last.pdev), 0);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 2U);
	last.fails = false;
	KUNIT_EXPECT_EQ(test, eeh_dev_open(last.pdev), 0);
	KUNIT_EXPECT_EQ(test, last.deactivated, 3U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.deactivated, 3U);
	last_end(test);
}

/* A freeze is no reset: config space that must not be accessed meanwhile is not. */
static void close_frozen(struct kunit *test)
{
	last_make(test, RESTRICTED, 0x14e4, 0x168e);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.fences, 0U);
	KUNIT_EXPECT_EQ(test, last.resets + last.deactivated, 0U);
	last_end(test);
}

/* A reset that is made while no device is open ends with its operation. */
static void closed_and_reset(struct kunit *test)
{
	last_make(test, EEH_PE_CFG_RESTRICTED, 0x14e4, 0x168e);
	eeh_dev_release(last.pdev);
	user_resets(test);
	KUNIT_EXPECT_EQ(test, last.resets, 1U);
	KUNIT_EXPECT_EQ(test, last.deactivated, 1U);
	KUNIT_EXPECT_EQ(test, last.bars, 1U);
	last_end(test);
}

/* VFIO opens a device whose PE could not be thawed, and closes it: it counts. */
static void open_without_thaw(struct kunit *test)
{
	last_make(test, EEH_PE_ISOLATED, 0x1af4, 0x1000);
	last.stuck = true;
	KUNIT_EXPECT_NE(test, eeh_dev_open(last.pdev), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&last.pe->pass_dev_cnt), 2);
	eeh_dev_release(last.pdev);
	last.stuck = false;
	eeh_dev_release(last.pdev);
	last_end(test);
}

/* Some must be reset. */
static void close_frozen_reset(struct kunit *test)
{
	last_make(test, RESTRICTED, 0x14e4, 0x1657);
	eeh_dev_release(last.pdev);
	KUNIT_EXPECT_EQ(test, last.fences, 0U);
	KUNIT_EXPECT_EQ(test, last.resets, 1U);
	last_end(test);
}

static int close_thread(void *unused)
{
	eeh_dev_release(last.pdev);
	complete_all(&last.closed);
	return 0;
}

/* Whoever removes a device waits with this lock held for the user, who closes another one. */
static void close_while_removed(struct kunit *test)
{
	struct task_struct *thread;

	last_make(test, RESTRICTED, 0x14e4, 0x1657);
	pci_lock_rescan_remove();
	thread = kthread_run(close_thread, NULL, "eeh-close");
	KUNIT_EXPECT_FALSE(test, IS_ERR(thread));
	if (!IS_ERR(thread))
		KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&last.closed, 30 * HZ), 0UL);
	pci_unlock_rescan_remove();
	/* Without the lock it ends anyway. */
	if (!IS_ERR(thread))
		wait_for_completion(&last.closed);
	KUNIT_EXPECT_EQ(test, last.resets, 1U);
	last_end(test);
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
	KUNIT_CASE(walk_ends),
	KUNIT_CASE(walk_goes_on),
	KUNIT_CASE(tree_walk_goes_on),
	KUNIT_CASE(close_ends_reset),
	KUNIT_CASE(close_ends_reset_thawed),
	KUNIT_CASE(close_of_two),
	KUNIT_CASE(close_in_operation),
	KUNIT_CASE(open_ends_reset),
	KUNIT_CASE(close_frozen),
	KUNIT_CASE(close_frozen_reset),
	KUNIT_CASE(closed_and_reset),
	KUNIT_CASE(open_without_thaw),
	KUNIT_CASE(close_while_removed),
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
