// What `python bench/keda.py` builds: KEDA by its own go.mod and go.sum, whose module this file pins.
module berth.dev/bench/keda

go 1.26.0

require github.com/kedacore/keda/v2 v2.21.0
