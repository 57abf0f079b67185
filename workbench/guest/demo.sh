# The host's part of make demo: pass the NVMe and the NIC to a KVM guest, watch its regions, see that
# nothing stays behind. Arguments and output: host.sh.

. /t/host.sh

# The base's guest makes a 64-bit window only if it is told how far its memory may grow.
memory=512M
[ $kernel != base ] || memory=$memory,slots=1,maxmem=1G

bind_devices 2
start_guest "" -m $memory
end_guest guest
check window-64 '[ $(windows_made) = 1 ]' "the guest's kernel made $(windows_made) window(s) besides the first"
if [ $kernel != base ]; then
	all=$(tce_ended '(rm|virt|user)') kvm=$(tce_ended '(rm|virt)')
	# It mapped all its memory at once, and maps nothing for a DMA.
	check hypercalls '[ $kvm -gt 0 ] && [ $all -lt 5000 ]' "$all in all, $kvm of them ended in KVM"
fi
# No 64-bit window: each DMA is mapped and unmapped by hypercalls.
start_guest disable_ddw -m $memory
end_guest guest-32
check window-32 '[ $(windows_made) = 0 ]' "the guest's kernel made $(windows_made) window(s) besides the first"
if [ $kernel != base ]; then
	all=$(tce_ended '(rm|virt|user)') rm=$(tce_ended rm) virt=$(tce_ended virt)
	share=$((all ? 1000 * rm / all : 0))
	case $(sed -n 's/^MMU[^:]*: //p' /proc/cpuinfo) in
	Hash)	check real-mode '[ $all -gt 10000 ] && [ $((100 * rm)) -gt $((95 * all)) ]' \
			"$rm of $all hypercalls: $((share / 10)).$((share % 10)) %" ;;
	*)	check virtual-mode '[ $all -gt 10000 ] && [ $((100 * virt)) -gt $((95 * all)) ]' "$virt of $all hypercalls" ;;
	esac
fi
check pinned '[ $pinned -ge 8192 ]' "up to $pinned pages pinned, $((locked / 1024)) MiB locked by the guest's QEMU"
if [ $kernel != base ]; then
	sed 's/^/note host: /' /tmp/best
	check regions '[ $most -gt 1 ]' "$(($(grep -c ^ /tmp/best) - 1)) seen, mapped up to $most"
fi
nothing_left
exit $failed
