"""Plain pickles: `pickle.dump`, joblib, PaddlePaddle."""
