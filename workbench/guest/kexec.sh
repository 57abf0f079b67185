# The host's part of the kexec scene: start the next kernel while a user's windows are mapped and a
# device works in them. Arguments and output: host.sh. What comes after is kexec-guest.sh's part.
#
# In an LPAR that is not all. The second kernel's driver has made a window that maps all memory, and a
# third kernel is started: the window is there still, but no user's device may reach it.

. /t/host.sh

windows()	# that this kernel's drivers have made
{
	dmesg | grep -c 'ibm,create-pe-dma-window([0-9]*) .* returned 0 '
}

next=/t/guest-initrd arguments=$(sed 's/ KEXECED=.*//' /proc/cmdline)
if [ ! -e /proc/device-tree/ibm,opal ]; then
	next=/tmp/initrd arguments="$arguments KEXECED=$((KEXECED + 1))"
	[ "$KEXECED" = 2 ] || (cd / && find . -xdev | cpio -o -H newc) >$next
fi

if [ "$KEXECED" ]; then
	. /t/kexec-guest.sh
	[ $failed = 0 ] || exit 1
	device=$(readlink -f /sys/bus/pci/drivers/nvme/*:*)
	window=$(dirname "$(readlink -f "$device/of_node")")/linux,direct64-ddr-window-info
	# Were a user's window there, the second kernel's driver could not make one.
	check window-64 '[ -e "$window" ] && [ $(windows) -ge $((2 - KEXECED)) ]' \
		"it maps all memory for the host's driver, $(windows) window(s) made"
fi
if [ "$KEXECED" != 1 ]; then
	bind_devices 1
	VFIO_GROUP=$(sed 's/.* //' /tmp/bound)
	export VFIO_GROUP
fi
case $KEXECED in
1)	/t/kexec now /t/vmlinux $next "$arguments" ;;
2)	/t/kexec take
	check taken '[ $? = 0 ]' "by a user who makes all windows"
	check window-gone '[ ! -e "$window" ]' "no window of the host's is left"
	made=$(windows)
	a=${device##*/}
	echo >"$device/driver_override"
	echo "$a" >"$device/driver/unbind"
	echo "$a" >/sys/bus/pci/drivers_probe
	. /t/kexec-guest.sh
	check window-made '[ -e "$window" ] && [ $(windows) -gt $made ]' "by the host's driver again"
	[ $failed = 0 ]
	exit ;;
*)	/t/kexec /t/vmlinux $next "$arguments" ;;
esac
check kexec false "the next kernel was not started"
exit 1
