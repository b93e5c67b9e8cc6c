// KServe, for its definitions alone: the Makefile takes them out of the module. Nothing of it is built.
module wmlserving/cluster/kserve

go 1.26

require github.com/kserve/kserve v0.20.0
