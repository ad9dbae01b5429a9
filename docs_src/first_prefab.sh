sandyard prefab init greeter
sandyard prefab publish greeter
eval "$(sandyard env)"
curl -s "$PPIO_API_URL/v1/prefabs/greeter/latest/functions/greet" \
    -H "X-API-Key: $PPIO_API_KEY" -H "Content-Type: application/json" \
    -d '{"parameters": {"name": "Ada", "times": 2}}'
