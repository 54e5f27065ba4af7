//! Files of mask sets: `.pth` (`{layer: {"weight": mask, "bias": mask or None}}`) and `.safetensors` (`layer.weight`).
//!
//! Reads 0 and 1 of any element type, tells the format by content, writes float32, the same set always to the same
//! bytes. Deliberately does not know the model: whether layers and shapes fit is checked where both are known.

use super::{LayerMask, Mask, MaskError, MaskSet};
use crate::formats::torch_file::{self, TorchFileError, Value};
use crate::formats::{DataError, safetensors};
use crate::tensor::Tensor;
use bytes::Bytes;

/// Why a file holds no mask set.
#[derive(Debug, thiserror::Error)]
pub enum MaskFileError {
    #[error(transparent)]
    Torch(#[from] TorchFileError),
    #[error(transparent)]
    Safetensors(#[from] DataError),
    #[error("a mask file holds a dict of layers, {{\"conv1\": {{\"weight\": mask, \"bias\": mask}}}}, not {found}")]
    Shape { found: &'static str },
    #[error("layer {layer:?}: {problem}")]
    Layer { layer: String, problem: String },
    #[error("layer {layer:?}, {part}: {error}")]
    Mask {
        layer: String,
        part: String,
        error: MaskError,
    },
}

/// Reads a whole file; `place` names it in messages.
///
/// # Errors
/// When it is neither a torch file nor safetensors, or what it holds are no masks.
pub fn read(bytes: Bytes, place: &str) -> Result<MaskSet, MaskFileError> {
    // A safetensors header is JSON behind its length; a torch file begins with `PK` or a pickle's protocol.
    if bytes.get(8) == Some(&b'{') && !bytes.starts_with(b"PK") {
        return from_safetensors(safetensors::read(&bytes, place)?);
    }
    from_torch(&torch_file::read(bytes)?)
}

fn from_torch(value: &Value) -> Result<MaskSet, MaskFileError> {
    let Value::Dict(layers) = value else {
        return Err(MaskFileError::Shape { found: kind(value) });
    };
    let mut masks = MaskSet::new();
    for (name, parts) in layers {
        let Value::Str(layer) = name else {
            return Err(MaskFileError::Shape {
                found: "a dict whose keys are not strings",
            });
        };
        let refuse = |problem: String| MaskFileError::Layer {
            layer: layer.clone(),
            problem,
        };
        let Value::Dict(parts) = parts else {
            return Err(refuse(format!(
                "a dict with \"weight\" and \"bias\" is expected, not {}",
                kind(parts)
            )));
        };
        let (mut weight, mut bias) = (None, None);
        for (part, mask) in parts {
            let Value::Str(part) = part else {
                return Err(refuse("the parameter names are not strings".into()));
            };
            let place = match part.as_str() {
                "weight" => &mut weight,
                "bias" => &mut bias,
                _ => {
                    return Err(refuse(format!(
                        "masks of \"weight\" and \"bias\" are read, not of {part:?}"
                    )));
                }
            };
            *place = match mask {
                Value::None => None,
                Value::Tensor(tensor) => Some(mask_of(layer, part, tensor)?),
                other => return Err(refuse(format!("the {part} mask is {}, not a tensor", kind(other)))),
            };
        }
        add(&mut masks, layer, weight, bias)?;
    }
    Ok(masks)
}

fn from_safetensors(tensors: Vec<(String, Tensor)>) -> Result<MaskSet, MaskFileError> {
    type Parts = (Option<Mask>, Option<Mask>);
    let mut layers: Vec<(String, Parts)> = Vec::new();
    for (name, tensor) in tensors {
        let Some((layer, part @ ("weight" | "bias"))) = name.rsplit_once('.') else {
            let problem = "the name of a mask ends in .weight or .bias".to_owned();
            return Err(MaskFileError::Layer { layer: name, problem });
        };
        let mask = mask_of(layer, part, &tensor)?;
        let place = match layers.iter().position(|(known, _)| known == layer) {
            Some(place) => place,
            None => {
                layers.push((layer.to_owned(), (None, None)));
                layers.len() - 1
            }
        };
        match part {
            "weight" => layers[place].1.0 = Some(mask),
            _ => layers[place].1.1 = Some(mask),
        }
    }
    let mut masks = MaskSet::new();
    for (layer, (weight, bias)) in layers {
        add(&mut masks, &layer, weight, bias)?;
    }
    Ok(masks)
}

fn mask_of(layer: &str, part: &str, tensor: &Tensor) -> Result<Mask, MaskFileError> {
    Mask::from_tensor(tensor).map_err(|error| MaskFileError::Mask {
        layer: layer.to_owned(),
        part: part.to_owned(),
        error,
    })
}

fn add(masks: &mut MaskSet, layer: &str, weight: Option<Mask>, bias: Option<Mask>) -> Result<(), MaskFileError> {
    let refuse = |problem: String| MaskFileError::Layer {
        layer: layer.to_owned(),
        problem,
    };
    let weight = weight.ok_or_else(|| refuse("there is no mask of the weight".into()))?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.shape().len() != 1) {
        return Err(refuse(format!(
            "the mask of the bias has shape {:?}, not one axis",
            bias.shape()
        )));
    }
    if masks.get(layer).is_some() {
        return Err(refuse("it stands there twice".into()));
    }
    masks.insert(layer, LayerMask { weight, bias });
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "a bool",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a string",
        Value::Tensor(_) => "a tensor",
        Value::List(_) => "a list",
        Value::Tuple(_) => "a tuple",
        Value::Dict(_) => "a dict",
    }
}

/// The bytes of a `.pth` file that `torch.load(weights_only=True)` reads; a layer without bias mask has None.
///
/// # Errors
/// When the archive cannot be written (never for models of ordinary size).
pub fn to_pth(masks: &MaskSet) -> Result<Vec<u8>, MaskFileError> {
    let layer = |(layer, mask): (&str, &LayerMask)| {
        let bias = mask
            .bias
            .as_ref()
            .map_or(Value::None, |bias| Value::Tensor(bias.to_tensor()));
        let parts = vec![
            (Value::Str("weight".into()), Value::Tensor(mask.weight.to_tensor())),
            (Value::Str("bias".into()), bias),
        ];
        (Value::Str(layer.to_owned()), Value::Dict(parts))
    };
    Ok(torch_file::write(&Value::Dict(masks.iter().map(layer).collect()))?)
}

/// The bytes of a `.safetensors` file.
pub fn to_safetensors(masks: &MaskSet) -> Vec<u8> {
    let mut tensors = Vec::new();
    for (layer, mask) in masks.iter() {
        tensors.push((format!("{layer}.weight"), mask.weight.to_tensor()));
        if let Some(bias) = &mask.bias {
            tensors.push((format!("{layer}.bias"), bias.to_tensor()));
        }
    }
    safetensors::write(&tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn sample() -> MaskSet {
        let mask = |values: &[f32], shape: &[usize]| Mask::from_tensor(&Tensor::from_f32(shape, values)).unwrap();
        let mut masks = MaskSet::new();
        let weight = mask(&[1.0, 0.0, 1.0, 1.0], &[2, 2, 1, 1]);
        masks.insert(
            "layer1.0.conv2",
            LayerMask {
                weight: weight.clone(),
                bias: None,
            },
        );
        masks.insert(
            "conv1",
            LayerMask {
                weight,
                bias: Some(mask(&[0.0, 1.0], &[2])),
            },
        );
        masks
    }

    #[test]
    fn both_forms_read_back() {
        let pth = to_pth(&sample()).unwrap();
        assert_eq!(pth, to_pth(&sample()).unwrap());
        assert_eq!(read(pth.into(), "m").unwrap(), sample());
        assert_eq!(read(to_safetensors(&sample()).into(), "m").unwrap(), sample());
    }

    #[test]
    fn other_element_types() {
        for dtype in [DType::Bool, DType::U8, DType::I64, DType::F16] {
            let mut one = vec![0; dtype.size()];
            match dtype {
                DType::F16 => one.copy_from_slice(&half::f16::ONE.to_le_bytes()),
                _ => one[0] = 1,
            }
            let data = [vec![0; dtype.size()], one].concat();
            let tensors = [("c.weight".to_owned(), Tensor::new(dtype, [2, 1], data).unwrap())];
            let masks = read(safetensors::write(&tensors).into(), "m").unwrap();
            assert_eq!(masks.get("c").unwrap().weight.keep(), [false, true], "{dtype}");
        }
    }

    #[test]
    fn refusals() {
        let text = |text: &str| Value::Str(text.into());
        let tensor = |values: &[f32]| Value::Tensor(Tensor::from_f32([values.len()], values));
        let layer = |parts: Vec<(Value, Value)>| Value::Dict(vec![(text("c"), Value::Dict(parts))]);
        let cases = [
            (tensor(&[1.0]), "not a tensor"),
            (Value::Dict(vec![(Value::Int(1), tensor(&[1.0]))]), "not strings"),
            (
                Value::Dict(vec![(text("c"), tensor(&[1.0]))]),
                "layer \"c\": a dict with",
            ),
            (layer(vec![]), "no mask of the weight"),
            (
                layer(vec![(text("weight"), Value::Int(1))]),
                "is a number, not a tensor",
            ),
            (layer(vec![(text("gamma"), tensor(&[1.0]))]), "\"gamma\""),
            (
                layer(vec![(text("weight"), tensor(&[1.0, 0.25]))]),
                "layer \"c\", weight: element 1 of the mask is 0.25",
            ),
        ];
        for (value, wanted) in cases {
            let error = read(torch_file::write(&value).unwrap().into(), "m")
                .expect_err(wanted)
                .to_string();
            assert!(error.contains(wanted), "{error}: {wanted}");
        }
        let tensors = [("conv1".to_owned(), Tensor::from_f32([1], &[1.0]))];
        let error = read(safetensors::write(&tensors).into(), "m").unwrap_err().to_string();
        assert!(error.contains("ends in .weight or .bias"), "{error}");
        assert!(read(Bytes::from_static(b"hello"), "m").is_err());
    }
}
