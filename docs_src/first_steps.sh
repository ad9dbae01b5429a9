eval "$(sandyard env)"
ppio-sandbox-cli agent deploy docs_src/notebook
python docs_src/call.py
