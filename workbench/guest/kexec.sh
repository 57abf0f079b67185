# The host's part of the kexec scene: start the next kernel while a user's windows are mapped and a
# device works in them. Arguments and output: host.sh. What comes after is kexec-guest.sh's part.

. /t/host.sh

bind_devices 1
VFIO_GROUP=$(sed 's/.* //' /tmp/bound)
export VFIO_GROUP
/t/kexec /t/vmlinux /t/guest-initrd "$(cat /proc/cmdline)"
check kexec false "the next kernel was not started"
exit 1
