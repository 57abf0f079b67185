# What the workbench's shell scripts share: where things are, and steps that
# show the elapsed time, keep a log of their own, and point to it when they fail.
# Meant to be sourced by a script that lives in workbench/.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=${JOBS:-$(nproc)}
: "${WB_START:=$(date +%s)}"
export WB_START

say()
{
	local t=$(( $(date +%s) - WB_START ))
	printf '[%2d:%02d] %s\n' $((t / 60)) $((t % 60)) "$*"
}

die()
{
	say "error: $*" >&2
	exit 1
}

# The base: BASE names a directory of base/; a tree of one's own (BASE_SRC) tells by its version which it is.
default_base=6.12
bases() { (cd "$root/base" && for b in */KERNEL; do echo "${b%/KERNEL}"; done) }
kernel_version() { awk '/^(VERSION|PATCHLEVEL) =/ { v = v dot $3; dot = "." } END { print v }' "$1/Makefile"; }

base_of()	# base_of KERNEL-VERSION: the base that it belongs to
{
	local b pattern
	for b in $(bases); do
		pattern=$(sed -n "s/^VERSION='\{0,1\}\([^' ]*\).*/\1/p" "$root/base/$b/KERNEL")
		# shellcheck disable=SC2053
		if [[ $1 = $pattern ]]; then
			echo "$b"
			return
		fi
	done
	return 1
}

if [ -n "${BASE_SRC:-}" ]; then
	[ -f "$BASE_SRC/Makefile" ] || die "BASE_SRC=$BASE_SRC is no kernel tree"
	version=$(kernel_version "$BASE_SRC")
	[ -n "$version" ] || die "BASE_SRC=$BASE_SRC is no kernel tree"
	found=$(base_of "$version") || die "BASE_SRC=$BASE_SRC is Linux $version; there are hooks for: $(bases | xargs)"
	[ "${BASE:-$found}" = "$found" ] || die "BASE=$BASE, but BASE_SRC=$BASE_SRC is Linux $version: base $found"
	BASE=$found
fi
: "${BASE:=$default_base}"
export BASE
[ -e "$root/base/$BASE/KERNEL" ] || die "no base $BASE; there are: $(bases | xargs)"
SUITE='' CONFIGS='' CLANG=''	# only some have them
# shellcheck source=../base/7.x/KERNEL
. "$root/base/$BASE/KERNEL"

# Everything made. A base has a directory of its own, so that going from one to another costs nothing.
build=$root/build
mkdir -p "$build/images"
if [ "$BASE" != $default_base ]; then
	build=$root/build/$BASE
	mkdir -p "$build"
	ln -sfn ../images "$build/images"
fi
mkdir -p "$build/log"

# Hooks in order: what is the same for all bases, and this base's own.
series()
{
	cat "$root/base/series" "$root/base/$BASE/series" 2>/dev/null | grep -vE '^[[:space:]]*(#|$)' | sort -u || true
}

hook_file()	# hook_file NAME: where that hook is, as it is worded for this base
{
	local f=$root/base/$BASE/hooks/$1
	[ -e "$f" ] || f=$root/base/hooks/$1
	echo "$f"
}

# step NAME COMMAND... : run with output in build/log/NAME.log
step()
{
	local name=$1 log=$build/log/$1.log began rc
	began=$(date +%s)
	shift
	say "$name ..."
	set +e
	( set -e; "$@" ) >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	if [ $rc -ne 0 ]; then
		tail -n 25 "$log" | sed 's/^/    /' >&2
		die "$name failed (status $rc), log: $log"
	fi
	say "$name done in $(( $(date +%s) - began )) s"
}

# try LOG COMMAND... : run it with set -e in force (a caller's || would switch that off); its status is in $rc
try()
{
	local log=$1
	shift
	set +e
	( set -e; "$@" ) >"$log" 2>&1 </dev/null
	rc=$?
	set -e
}

# lock PART [-s] : one change of a part of build/ at a time, whoever asks; -s shared, for who only reads it
lock()
{
	local fd
	exec {fd}>"$build/.lock-$1"
	flock -n ${2:-} "$fd" || { say "waiting for another build ($1)"; flock ${2:-} "$fd"; }
}

# Our directories that are laid over the base's.
overlay=(arch Documentation drivers include mm tools)

# The kernel's directories that hold our files and hooks, for make.
dirs=(arch/powerpc/kernel/ arch/powerpc/mm/ arch/powerpc/kvm/ arch/powerpc/platforms/ drivers/iommu/ drivers/vfio/)

# Compilers and how to call the kernel's make for POWER.
cross=powerpc64le-linux-gnu-
if command -v ccache >/dev/null; then
	cross="ccache $cross"
	export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
fi

# The machine's own Debian: suite, and where its apt gets that suite from.
suite()
{
	sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# Packages that are read, not installed: apt with lists, cache and sources of its own, so that the
# machine's do not change. A suite's Release may be past its date, here only: what is read is signed.
fetch_deb()	# fetch_deb PACKAGE ARCHITECTURE SUITE... : its file, in build/apt
{
	local package=$1 arch=$2 dir=$root/build/apt/$2 uri s
	shift 2
	uri=$(mirror "$(suite)")
	[ -n "$uri" ] || { echo "apt has no source for $(suite)" >&2; return 1; }
	mkdir -p "$dir"/{state/lists/partial,cache/archives/partial}
	for s; do echo "deb $uri $s main"; done >"$dir/sources.list"
	local o=(-q -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State=$dir/state" -o "Dir::Cache=$dir/cache"
		-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o Dir::State::status=/dev/null -o Acquire::Languages=none
		-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3)
	cd "$dir"
	apt-get "${o[@]}" update >&2 || echo 'some lists could not be had' >&2	# download tells whether it matters
	rm -f "${package}"_*.deb
	apt-get "${o[@]}" download "$package" >&2 || return 1
	echo "$dir/${package}"_*.deb
}

# Debian packages in a directory of their own; nothing of them is run. Root or not: the files are then one's own.
unpack_debs()	# unpack_debs TREE ARCHITECTURE PACKAGES SUITE...
{
	local tree=$1 arch=$2 packages=$3 mode=unshare uri s sources=()
	shift 3
	[ "$(id -u)" != 0 ] || mode=root
	uri=$(mirror "$(suite)")
	for s; do sources+=("deb $uri $s main"); done
	rm -rf "$tree"
	mkdir -p "$tree"
	# the last suite's packages where it has them
	mmdebstrap --variant=extract --mode=$mode --format=tar --architectures="$arch" --include="$packages" \
		--aptopt="APT::Default-Release \"${*: -1}\"" --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
		"$1" - "${sources[@]}" | tar -xC "$tree" --exclude='./dev/*'
}

mirror()	# mirror SUITE
{
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE) $(CODENAME)' 'Created-By: Packages' |
		awk -v suite="$1" '$2 == "main" && ($3 == suite || $4 == suite) { print $1; exit }'
}
