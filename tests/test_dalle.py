"""Tests of mini_models.dalle: its losses, its order in time, its cache, and what it may write."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mini_models.attention import scaled_dot_product_attention
from mini_models.dalle import DALLE, DALLEConfig, StreamDecoder, dalle_loss
from mini_models.dvae import DVAEConfig
from mini_models.scaling import DALLE_SIZES as PAPER
from mini_models.scaling import n_params

EYE = DVAEConfig(codes=12, grid=4, image_size=8, width=8)
SMALL = DALLEConfig(5, 12, 3, 16, n_layers=3, n_heads=2, d_model=16, kernel=3, dvae=EYE)
TEXT, IMAGE, FIRST = 3, 16, 8  # T, N, id of the first image word
IDS = torch.tensor([[1, 4, 2], [3, 0, 0], [2, 2, 0]])


def decoder(**changes) -> StreamDecoder:
    """One whose every weight is drawn so wide that whatever it sees matters."""
    torch.manual_seed(0)
    model = StreamDecoder(replace(SMALL, **changes)).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def dalle(**changes) -> DALLE:
    """One whose dVAE, though it has learned nothing, gives different cells different words."""
    torch.manual_seed(1)
    model = DALLE(replace(SMALL, **changes))
    for p in model.dvae.encoder.parameters():
        nn.init.normal_(p, std=1.0)
    return model


def streams(model, n=3, seed=0):
    words = torch.randint(12, (n, IMAGE), generator=torch.Generator().manual_seed(seed))
    return model.stream(IDS[:n], words)


def pictures(n=3, seed=0):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


# agrees with an independent implementation


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_the_logits_are_those_of_plain_products(attention):
    model = decoder(attention=attention)
    stream = streams(model)
    places = [model.order.weight[i] for i in range(1 + TEXT)]
    places += [model.rows.weight[i // 4] + model.columns.weight[i % 4] for i in range(IMAGE)]
    x = model.tokens.weight[stream] + torch.stack(places)
    for block, mask in zip(model.transformer.blocks, model.masks, strict=True):
        q, k, v = block.attention.project(block.norm1(x))
        heads, _ = scaled_dot_product_attention(q, k, v, mask)
        x = x + block.attention.out(heads.transpose(1, 2).flatten(2))
        x = x + block.feed_forward(block.norm2(x))
    expected = model.transformer.norm(x) @ model.tokens.weight.T
    logits = model(stream)
    possible = logits.isfinite()
    assert_close(logits[possible], expected[possible])


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_the_losses_are_the_cross_entropy_of_the_logits(attention):
    model = decoder(attention=attention)
    stream = streams(model)
    logits, coming = model(stream[:, :-1]), stream[:, 1:]
    nats = F.cross_entropy(logits.flatten(0, 1), coming.flatten(), reduction="none").view(3, -1)
    text, image = model.losses(stream)
    assert_close(text, nats[:, :TEXT].mean())
    assert_close(image, nats[:, TEXT:].mean())


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_decoders_have_the_parameters_of_their_sizes(name):
    config = PAPER[name]
    with torch.device("meta"):
        model = StreamDecoder(config)
    paddings, places, norm = 256, (1 + 256) + 32 + 32, 2
    extra = (paddings + places + norm) * config.d_model
    assert sum(p.numel() for p in model.parameters()) == n_params(config) + extra


def test_the_loss_is_an_eighth_of_the_text_and_seven_of_the_picture():
    model, batch = dalle(), (pictures(), IDS)
    text, image = model(*batch)
    assert_close(dalle_loss(model, batch), (text + 7 * image) / 8)
    words = model.dvae.encode(batch[0]).flatten(1)
    assert_close((text, image), model.decoder.losses(model.decoder.stream(IDS, words)))


# properties


def test_a_stream_is_a_start_words_paddings_of_their_places_and_image_words():
    model = decoder()
    stream = model.stream(IDS[:2], torch.tensor([[0, 11], [3, 3]]))
    assert stream.tolist() == [[0, 1, 4, 2, 8, 19], [0, 3, 6, 7, 11, 11]]
    assert SMALL.first_image_id == FIRST and SMALL.vocab_size == 20
    assert SMALL.context_length == 20 and SMALL.grid == 4


def test_where_text_must_come_no_image_has_a_chance_and_the_other_way_round():
    model = decoder()
    share = model(streams(model)).softmax(dim=-1)
    assert (share[:, :TEXT, FIRST:] == 0).all() and (share[:, :TEXT, :FIRST] > 0).all()
    assert (share[:, TEXT:, :FIRST] == 0).all() and (share[:, TEXT:, FIRST:] > 0).all()


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_the_future_cannot_change_the_past(attention):
    model = decoder(attention=attention)
    stream = streams(model)
    before = model(stream)
    for place in range(1, stream.shape[1]):
        other = stream.clone()
        if place <= TEXT:
            other[:, place] = 1 + stream[:, place] % 4
        else:
            other[:, place] = FIRST + (stream[:, place] - FIRST + 1) % 12
        after = model(other)
        assert torch.equal(after[:, :place], before[:, :place]), place
        assert (after[:, place] != before[:, place]).any(), place  # but it may change what follows


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_every_word_of_a_caption_matters_to_every_image_token(attention):
    model = decoder(attention=attention)
    for said, place in [((1, 4, 2), 0), ((1, 4, 2), 2), ((3, 0, 0), 0), ((2, 2, 0), 1)]:
        ids = torch.tensor([said])
        other = ids.clone()
        other[0, place] = 1 + ids[0, place] % 4
        words = torch.zeros(1, IMAGE, dtype=torch.long)
        one, two = (model(model.stream(t, words))[0, TEXT:, FIRST:] for t in (ids, other))
        assert ((one - two).abs().amax(dim=1) > 1e-4).all()


def test_captions_of_several_lengths_do_not_disturb_each_other():
    model = decoder()
    stream = streams(model)
    together = model(stream)
    for row, alone in enumerate(stream.split(1)):
        assert_close(model(alone)[0], together[row])


@pytest.mark.parametrize("attention", ["sparse", "dense"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sizes", [[20], [1] * 20, [4] + [1] * 16, [7, 5, 8]])
def test_with_a_cache_the_logits_are_the_same(attention, batch, sizes):
    model = decoder(attention=attention)
    stream = streams(model, batch)
    cache = model.new_cache(batch)
    parts = [model(part, cache) for part in stream.split(sizes, dim=1)]
    assert_close(torch.cat(parts, dim=1), model(stream))


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_it_writes_the_same_with_a_cache_and_without(attention):
    model = dalle(attention=attention)
    ids, known = IDS, torch.tensor([[1, 2], [3, 4], [5, 6]])

    def written(**how):
        return model.write(ids, known, torch.Generator().manual_seed(0), **how)

    assert torch.equal(written(), written(cache=False))
    assert torch.equal(written(temperature=0), written(temperature=0, cache=False))


def test_drawing_depends_on_the_seed_alone():
    model = dalle()
    one, again, other = (
        model.draw(IDS, torch.Generator().manual_seed(seed), top_k=5) for seed in (0, 0, 1)
    )
    assert one.shape == (3, 3, 8, 8) and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_it_writes_nothing_but_image_words(monkeypatch):
    monkeypatch.setattr("mini_models.dalle.TOGETHER", 2)  # three captions are two turns
    many = IDS.repeat(8, 1)
    words = dalle().write(many, many[:, :0], temperature=50.0)  # nearly any word that may come
    assert words.shape == (24, 4, 4)
    assert words.min() == 0 and words.max() == 11


def test_the_most_probable_picture_of_a_caption_is_the_same_in_any_company():
    model = dalle()
    together = model.write(IDS, IDS[:, :0], temperature=0)
    for row, alone in enumerate(IDS.split(1)):
        assert torch.equal(model.write(alone, alone[:, :0], temperature=0)[0], together[row])


@pytest.mark.parametrize("rows", range(5))
def test_completing_keeps_the_first_rows(rows, monkeypatch):
    model, images = dalle(), pictures()
    seen, grids = model.dvae.encode(images), []
    write = model.write
    monkeypatch.setattr(model, "write", lambda *a, **k: grids.append(write(*a, **k)) or grids[0])
    finished = model.complete(images, IDS, rows, torch.Generator().manual_seed(0))
    assert torch.equal(grids[0][:, :rows], seen[:, :rows])
    assert_close(finished, model.dvae.decode(grids[0]))
    if rows < 4:
        assert not torch.equal(grids[0], seen)


def test_the_dvae_does_not_learn():
    model = dalle()
    dalle_loss(model, (pictures(), IDS)).backward()
    assert all(p.grad is None for p in model.dvae.parameters())
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_a_config_survives_a_file():
    assert DALLEConfig(**{**vars(SMALL), "dvae": vars(EYE)}) == SMALL


# refuses


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="attention 'diagonal' is unknown: choose one of sparse"):
        DALLEConfig(attention="diagonal")
    with pytest.raises(ValueError, match="60 image tokens fill no square"):
        DALLEConfig(image_length=60)
    with pytest.raises(ValueError, match="the dVAE makes 16 of 12 words .* has 16 of 13"):
        replace(SMALL, image_vocab_size=13)
    with pytest.raises(ValueError, match="the dVAE makes 16 of 12 words .* has 64 of 12"):
        replace(SMALL, image_length=64)
    with pytest.raises(ValueError, match="would see nothing: set the config's dvae"):
        DALLE(replace(SMALL, dvae=None))


def test_captions_that_are_none_are_refused():
    model, none = decoder(), torch.zeros(1, 0, dtype=torch.long)
    for ids in (torch.tensor([[1, 2]]), torch.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match=r"have shape .*: give \[B, 3\], padded with 0"):
            model.stream(ids, none)
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=r"captions have ids from .* knows 0 to 4"):
            model.stream(torch.tensor([[1, 2, wrong]]), none)


def test_completing_what_is_not_there_is_refused():
    model = dalle()
    for rows in (5, -1):
        with pytest.raises(ValueError, match=f"{rows} rows cannot be kept: a picture has 4"):
            model.complete(pictures(), IDS, rows)
    with pytest.raises(ValueError, match="2 images and 3 captions: give one for each"):
        model.complete(pictures(2), IDS, 2)


# learns


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_it_learns_eight_pictures_by_heart(attention):
    model = dalle(attention=attention, d_model=32)
    images = pictures(8)
    ids = torch.tensor([[1 + i // 4, 1 + i % 4, 0] for i in range(8)])  # no two are alike
    descent = torch.optim.Adam(model.decoder.parameters(), lr=5e-3)
    for _ in range(300):
        descent.zero_grad()
        dalle_loss(model, (images, ids)).backward()
        descent.step()
    text, image = model(images, ids)
    assert image < 0.2  # of ln 12 = 2.5
    assert text < 0.9  # at best ln 8 / 3 = 0.7: which of the eight captions comes stays open
    assert torch.equal(model.write(ids, ids[:, :0], temperature=0), model.dvae.encode(images))
