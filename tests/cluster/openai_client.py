"""What a user's program does with the official client; run by test_openai_sdk.py and others.

openai_client.py BASE_URL MODEL COMMAND [COUNT]: prints one JSON object.
"""

import json
import sys
import time

import openai


def client(base_url):
    return openai.OpenAI(base_url=base_url, api_key="sk-test", max_retries=0, timeout=30)


def tour(base_url, model):
    """Each call that a user makes, once."""
    api = client(base_url)
    messages = [{"role": "user", "content": "Say something."}]
    chat = api.chat.completions.create(model=model, messages=messages, max_tokens=6)
    pieces, usage = [], None
    for chunk in api.chat.completions.create(model=model, messages=messages, max_tokens=6,
                                             stream=True, stream_options={"include_usage": True}):
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(chunk.choices[0].delta.content)
        usage = chunk.usage or usage
    completion = api.completions.create(model=model, prompt="Once upon a time", max_tokens=5)
    embedding = api.embeddings.create(model=model, input="words")
    try:
        api.chat.completions.create(model="no-such-model", messages=messages)
        error = None
    except openai.NotFoundError as caught:
        error = {"status": caught.status_code, "code": caught.code, "message": str(caught)}
    return {
        "chat": chat.choices[0].message.content,
        "chat_completion_tokens": chat.usage.completion_tokens,
        "stream_pieces": pieces,
        "stream_completion_tokens": usage.completion_tokens if usage else None,
        "completion": completion.choices[0].text,
        "embedding_length": len(embedding.data[0].embedding),
        "models": sorted(entry.id for entry in api.models.list()),
        "error": error,
    }


def spread(base_url, model, count):
    """`count` requests, each on a connection of its own; errors and who served them."""
    nodes, errors = {}, []
    for number in range(count):
        try:
            answer = client(base_url).chat.completions.with_raw_response.create(
                model=model, max_tokens=2,
                messages=[{"role": "user", "content": f"Question {number}"}])
            node = answer.headers["x-dualmesh-node"]
            nodes[node] = nodes.get(node, 0) + 1
        except openai.OpenAIError as caught:
            errors.append(f"{time.time():.3f} {type(caught).__name__}: {caught}")
    return {"nodes": nodes, "errors": errors}


def main():
    base_url, model, command = sys.argv[1:4]
    if command == "tour":
        result = tour(base_url, model)
    else:
        result = spread(base_url, model, int(sys.argv[4]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
