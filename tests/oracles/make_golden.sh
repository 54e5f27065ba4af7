#!/usr/bin/env bash
# Makes tests/data/golden anew from the oracles: NNI 1.9 (sensitivity) and NNI 2.10.1 (topology, masks).
#
#   tests/oracles/make_golden.sh DIR [models|sensitivity|topology|torchvision ...]      (no words: all four, in this order)
#
# DIR holds what the tests compare with and never need:
#   DIR/tp       a virtual environment with torch 2.13.0 and torchvision, and the packages that NNI 1.9 asks for
#   DIR/nni      a virtual environment with torch 2.0.1 and torchvision 0.15.2, and the packages that NNI 2.10.1 asks for
#   DIR/nni-1.9, DIR/nni-2.10.1       the two wheels, unpacked (pip download --no-deps nni==VERSION)
#
# `models` draws the odd networks and their data anew; they come out the same on the same machine and torch version.
# The quickstart's network is taken as pipelines/quickstart/train.py left it.
set -euo pipefail
dir=$(realpath "${1:?usage: make_golden.sh DIR [models|sensitivity|topology|torchvision ...]}")
shift
[ $# -gt 0 ] || set -- models sensitivity topology torchvision
cd "$(dirname "$0")"
golden=../data/golden
new=$dir/tp/bin/python
old=$dir/nni/bin/python
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
names="quickstart uneven shared grouped hourglass"
topologies="borrowed handed maxvit"

for part in "$@"; do
  case $part in
    models) "$new" make_models.py $golden ;;
    sensitivity)
      "$new" networks.py $golden $names
      for name in $names; do "$new" nni_sensitivity.py "$dir/nni-1.9" $golden $name; done
      ;;
    topology)
      "$new" networks.py $golden $names $topologies
      "$old" nni_topology.py "$dir/nni-2.10.1" $golden $names $topologies
      ;;
    torchvision) "$old" nni_topology.py "$dir/nni-2.10.1" $golden torchvision ;;
    *) echo "make_golden.sh: unknown part $part" >&2 && exit 2 ;;
  esac
done
rm -f $golden/*/weights.pth
