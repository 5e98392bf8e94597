"""A tokenizer and a Llama small enough to be built inside a test, shaped like the real ones."""

import functools
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML with a default system prompt, as SmolLM2's."""

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CORPUS = (
    "system\nuser\nassistant\nYou are a tiny assistant",
    "What is the answer? The answer is the sum of two and three, which is five.",
    "Hello there, how are you today? I am well, thank you for asking!",
    "Write a short sentence about the sea. The sea is wide and blue.",
    "print('hello')  # a comment\nfor i in range(10):\n    total = total + i\n",
    "The cat sat on the mat, and the dog ran after the cat. 1 + 2 = 3, 4 + 5 = 9.",
)


@functools.cache
def _trained(specials: tuple[str, ...], vocab_size: int) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(
    template: str | None = CHATML,
    *,
    specials: Sequence[str] = SPECIALS,
    bos: str | None = "<|im_start|>",
    eos: str | None = "<|im_end|>",
    pad: str | None = "<|im_end|>",
    vocab_size: int = 384,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE that covers all of Unicode; pad == eos, as SmolLM2 has it."""
    backend = Tokenizer.from_str(_trained(tuple(specials), vocab_size))
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **{k: v for k, v in named.items() if v is not None}
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    context: int = 512,
) -> LlamaForCausalLM:
    """A random Llama in fp32 and eval mode: 4 heads over 2 key-value heads, tied embeddings."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        # Wider than the default, so that the distribution is far from uniform and bugs show.
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.float().eval()
