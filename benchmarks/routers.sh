#!/bin/sh
# The tables of docs/results/routers.md, from collecting banks to figures:
#   sh benchmarks/routers.sh banks           what the others need (about 30 minutes on 2 cores)
#   sh benchmarks/routers.sh chain           1,000 problems of chain (10 minutes)
#   sh benchmarks/routers.sh hard            1,000 of chain-hard, the shipped scores (half an hour)
#   sh benchmarks/routers.sh refit           600 of it, scores refitted to it (20 minutes)
#   sh benchmarks/routers.sh transfer        1,000 of words and of program (10 minutes)
set -e
trim=.venv/bin/trim
models=src/trim/shipped/models

fit() { # bank, suffix of the files
    $trim fit "$1" --out "build/pomdp$2.json"
    $trim train agg "$1" --out "build/agg$2"
    $trim fit-rival automix-prm "$1" --out "build/automix-prm$2.json"
    $trim fit-rival classifier "$1" --out "build/classifier$2.json"
}

banks() {
    $trim collect chain -n 1100 --seed 1 --out build/bank-chain
    fit build/bank-chain ""
    $trim collect chain -n 1000 --seed 1 --rollouts 2 --scorer logprob --out build/bank-chain-logprob
    $trim fit-rival automix build/bank-chain-logprob --out build/automix.json
    $trim collect chain-hard -n 700 --seed 1 --scorer prm --out build/bank-hard-prm
    $trim rescore build/bank-hard-prm $models/joint.json --out build/bank-hard
    fit build/bank-hard -hard
    mkdir -p build/models-hard
    cp $models/*.gguf build/models-hard
    $trim fit-scorer build/bank-hard-prm --out build/models-hard/joint.json
    $trim rescore build/bank-hard-prm build/models-hard/joint.json --out build/bank-hard-refit
    fit build/bank-hard-refit -hard-refit
}

chain() {
    $trim eval chain -n 1000 --policy weak --policy strong --policy oracle --policy oracle-query \
        --policy random:0.1,0.3,0.6 \
        --policy thr:0.000001,0.00001,0.0001,0.0002,0.001,0.003,0.01,0.03,0.06,0.1,0.15,0.2,0.3,0.4 \
        --policy thr:0.5,0.6,0.7,0.8,0.85,0.9,0.93,0.96,0.98,0.99,0.995 \
        --policy pomdp:build/pomdp.json --policy agg:build/agg \
        --policy takeover:0.001,0.01,0.1,0.3,0.5,0.7,0.9 --policy rsd --policy specreason:4,5,6 \
        --policy cascade:0.01,0.1,0.3,0.5,0.6,0.7,0.8,0.9,0.95 \
        --policy automix-prm:build/automix-prm.json --policy automix:build/automix.json \
        --policy classifier:build/classifier.json --seed 0 --out build/routers
}

hard() {
    $trim eval chain-hard -n 1000 --policy weak --policy strong --policy oracle \
        --policy thr:0.000001,0.0001,0.001,0.01,0.03,0.1,0.2,0.4,0.6,0.8,0.9,0.96,0.985 \
        --policy pomdp:build/pomdp-hard.json@0.0333,0.0252,0.019,0.0143,0.0119,0.00856,0.00571,0.0038,0.00238,0.00143,0.000713,0.000238 \
        --policy agg:build/agg-hard@0.012,0.00827,0.00667,0.00568,0.00511,0.00459,0.00412,0.00351,0.00283,0.00149,0.000333 \
        --policy pomdp:build/pomdp.json@0.03,0.0207,0.0129,0.00622,0.00259,0.000777,0.0000777 \
        --policy agg:build/agg@0.026,0.018,0.0132,0.00779,0.0019,0.00082,0.000374 \
        --policy cascade:0.000001,0.001,0.1,0.5 --policy automix-prm:build/automix-prm-hard.json \
        --policy classifier:build/classifier.json --seed 0 --out build/routers-hard
}

refit() {
    $trim eval chain-hard -n 600 --models build/models-hard \
        --policy weak --policy strong --policy oracle \
        --policy thr:0.0001,0.001,0.01,0.03,0.06,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.95,0.98 \
        --policy pomdp:build/pomdp-hard-refit.json@0.0333,0.0276,0.0228,0.019,0.0143,0.0119,0.00856,0.00571,0.0038,0.00238,0.00143,0.000713,0.000238 \
        --policy agg:build/agg-hard-refit@0.0175,0.012,0.00971,0.00827,0.00743,0.00667,0.00568,0.00391,0.00166,0.000971,0.000633,0.000333 \
        --policy cascade:0.001,0.05,0.2,0.5 --policy automix-prm:build/automix-prm-hard-refit.json \
        --policy classifier:build/classifier-hard-refit.json --seed 0 --out build/routers-hard-refit
}

transfer() {
    $trim ablate transfer -n 1000 --suites words,program \
        --policy agg:build/agg@0.0356,0.026,0.0211,0.018,0.0154,0.0132,0.00779,0.00438,0.0019,0.00082,0.000374 \
        --policy pomdp:build/pomdp.json@0.0363,0.03,0.0249,0.0207,0.0181,0.0129,0.00932,0.00622,0.00259,0.000777,0.0000777 \
        --policy thr:0.000001,0.0001,0.001,0.01,0.03,0.1,0.2,0.3,0.5,0.7,0.8,0.9,0.95,0.98,0.99 \
        --policy classifier:build/classifier.json --out build/transfer
}

"$1"
