# shellcheck shell=bash
# Functions of the scripts in this folder. They source it.

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kanary-e2e
# shellcheck disable=SC2034 # used by those that source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
mkdir -p "$CACHE"
# A failure inside $(...) also ends the script. (The bash of macOS lacks this option.)
shopt -s inherit_errexit 2>/dev/null || true

say() { printf '== %s  %s\n' "$(date +%T)" "$*" >&2; }
fail() { say "$*"; exit 1; }

has_programs() { # PROGRAM...
  local program
  for program; do command -v "$program" >/dev/null || return 1; done
}
is_debian() { grep -qx 'ID=debian' /etc/os-release 2>/dev/null; }
can_install() { is_debian && [ "$(id -u)" = 0 ]; }

install_packages() { # PACKAGE...
  can_install || fail "these packages are needed, and only root on Debian can have them installed here: $*"
  say "installing $*"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" >"$CACHE/apt-install.log" 2>&1 9>&- ||
    { tail -n 20 "$CACHE/apt-install.log" >&2; fail "apt-get install failed: $*"; }
}

# Only one run at a time creates an artefact; the others wait and then use it.
one_at_a_time() { # NAME
  has_programs flock || return 0
  exec 9>"$CACHE/$1.lock"
  flock 9
}

# The Debian mirror of this machine's own apt, which has a codename only after it has fetched a list.
debian_repository() {
  local codename found
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # The single-quoted $(...) are apt's own placeholders.
  # shellcheck disable=SC2016
  find_repository() { apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk -v c="$codename" '$2 == c && !n++ {print $1}'; }
  found=$(find_repository)
  [ -n "$found" ] || { apt-get update -qq >&2; found=$(find_repository); }
  [ -n "$found" ] || fail "apt knows no repository of Debian $codename: look into /etc/apt"
  echo "$found"
}

# Runs apt with its own lists and package status, so that this machine's sources are unchanged and its installed
# packages do not influence the download.
debian() { # SUITE COMMAND...
  local suite=$1 root
  shift
  root=$CACHE/apt-$suite
  [ -e "$root/complete" ] || make_apt_root "$suite" "$root"
  APT_CONFIG=$root/apt.conf "$@"
}

make_apt_root() { # SUITE DIRECTORY
  local suite=$1 root=$2 repository
  repository=$(debian_repository)
  rm -rf "$root"
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/parts"
  : >"$root/status"
  printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$repository" "$suite" >"$root/parts/debian.sources"
  cat >"$root/apt.conf" <<APT
Dir::Etc::SourceList "$root/none";
Dir::Etc::SourceParts "$root/parts";
Dir::State::Lists "$root/lists";
Dir::State::Status "$root/status";
Dir::Cache "$root/cache";
APT::Sandbox::User "root";
APT
  APT_CONFIG=$root/apt.conf apt-get update -qq >&2
  touch "$root/complete"
}

unpack() { # SUITE PACKAGE DIRECTORY: the package's files, without installing it
  local download=$CACHE/download/deb-$2
  rm -rf "$download"
  mkdir -p "$download" "$3"
  (cd "$download" && debian "$1" apt-get download -qq "$2" >&2)
  dpkg -x "$download"/*.deb "$3"
  rm -rf "$download"
}

# The path of a program: from PATH, otherwise from Debian trixie, unpacked and not installed (it needs only libc 2.34).
# Empty if there is neither: pytest-kind then downloads the program itself.
program() { # NAME
  local kept=$CACHE/programs/$1
  command -v "$1" && return
  is_debian || return 0
  if [ ! -x "$kept" ]; then
    say "unpacking $1 from Debian trixie"
    unpack trixie "$1" "$kept.part"
    mv "$kept.part/usr/bin/$1" "$kept"
    rm -rf "$kept.part"
  fi
  echo "$kept"
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# True once the image is here. Without a registry this fails at once, because its name is not found.
pull() { has_image "$1" || { say "pulling $1"; docker pull -q "$1" >"$CACHE/pull.log" 2>&1; }; }

# Debian's Docker has only the legacy builder, whose builds use the network of the host.
docker_build() { # ARGUMENT...
  local log=$CACHE/docker-build.log
  if docker buildx version >/dev/null 2>&1; then
    docker build "$@" >"$log" 2>&1
  else
    DOCKER_BUILDKIT=0 docker build --network host "$@" >"$log" 2>&1
  fi || { tail -n 30 "$log" >&2; fail "docker build failed: the whole log is $log"; }
}

# A minimal Debian as a Docker image, if it cannot be pulled.
debian_image() { # SUITE
  pull "debian:$1-slim" && return
  has_programs debootstrap || install_packages debootstrap debian-archive-keyring
  say "making debian:$1-slim with debootstrap (about 30 s)"
  local rootfs=$CACHE/rootfs-$1 repository
  repository=$(debian_repository)
  rm -rf --one-file-system "$rootfs"
  debootstrap --variant=minbase --include=ca-certificates "$1" "$rootfs" "$repository" >"$CACHE/debootstrap.log" 2>&1 ||
    { tail -n 20 "$CACHE/debootstrap.log" >&2; fail "debootstrap failed"; }
  rm -rf "$rootfs/var/cache/apt"/* "$rootfs/var/lib/apt/lists"/*
  tar -C "$rootfs" -c . | docker import - "debian:$1-slim" >/dev/null
  rm -rf --one-file-system "$rootfs"
}
