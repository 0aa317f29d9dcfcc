"""How good detections are: matching, mAP, where it is lost, intervals, baselines, similarity.

Arrays and `Events` in, numbers out. No model is run here, and no file is read or written.
"""
