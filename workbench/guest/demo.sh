# The host's part of make demo: pass the NVMe and the NIC to a KVM guest, watch its regions, see that
# nothing stays behind. Arguments and output: host.sh.

. /t/host.sh

# With what memory may grow to, or the guest's kernel makes no 64-bit window.
memory=512M,slots=1,maxmem=1G

bind_devices 2
start_guest "" -m $memory
end_guest guest
if [ $kernel != base ]; then
	check hypercalls 'grep -q "_\(rm\|virt\) [1-9]" /tmp/tce' "served in KVM, $(tce_real_mode) % of them in real mode"
fi
if [ $kernel != base ] && grep -q "^MMU.*Hash" /proc/cpuinfo; then
	# No 64-bit window: each DMA is mapped and unmapped by hypercalls.
	start_guest disable_ddw -m $memory
	end_guest guest-32
	check real-mode '[ "$(tce_real_mode)" -ge 95 ]' "$(tce_real_mode) % of these in real mode"
fi
check pinned '[ $pinned -ge 8192 ]' "up to $pinned pages pinned, $((locked / 1024)) MiB locked by the guest's QEMU"
if [ $kernel != base ]; then
	sed 's/^/note host: /' /tmp/best
	check regions '[ $most -gt 1 ]' "$(($(grep -c ^ /tmp/best) - 1)) seen, mapped up to $most"
fi
nothing_left
exit $failed
